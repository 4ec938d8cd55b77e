"""The page with plots of the last hours and days: history.js reads GET /history, plot.js draws, panels.js says what."""
