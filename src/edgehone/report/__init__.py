"""What people read: the live table of a run, and the summary of a decision."""
