"""What all other packages use: errors, figures, events, configuration, typed JSON. It imports no other package."""
