"""Mixed precision: a budget of bytes spent on the weights that need it; the table, the solver, the assignment."""
