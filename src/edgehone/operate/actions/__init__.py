"""What remedies do: each kind of action plans a change, makes it, tells whether it holds, and undoes it."""
