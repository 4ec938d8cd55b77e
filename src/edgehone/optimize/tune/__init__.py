"""Search over the runtime settings of the chosen candidate."""
