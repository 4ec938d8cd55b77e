"""Planning: select the recipes to try for a model, predict their figures, and give reasons for the rest."""
