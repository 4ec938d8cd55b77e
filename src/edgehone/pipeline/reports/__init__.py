"""What people and CI systems read of a run: JUnit XML, Markdown for a pull request, and one HTML page."""
