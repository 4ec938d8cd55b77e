"""Search over recipes within a time budget: proposals, races between candidates, and the history of trials."""
