"""The actions of remedies: each kind plans a change, makes it, checks whether it is in place, and undoes it."""
