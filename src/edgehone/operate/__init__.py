"""Operate servers: watch, diagnose, remedy, verify, escalate (loop.py)."""
