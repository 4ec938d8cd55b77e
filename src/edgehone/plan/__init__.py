"""Planning: which recipes deserve a try for this model, and why the others do not."""
