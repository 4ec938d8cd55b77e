"""What every other package uses: errors, figures, events and configuration. It imports nothing else of edgehone."""
