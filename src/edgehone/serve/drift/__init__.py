"""Watches the requests of each served model for drift, and keeps samples of them for those who opted in."""
