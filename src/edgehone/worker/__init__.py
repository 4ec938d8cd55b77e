"""Code that runs in a backend's environment: scoring, timing, memory measurement and generation.

A worker process has the standard library, numpy and the backend's own framework. No module here imports anything else,
directly or through another module of edgehone, when it is loaded. `tools/check_docs.py` enforces this.
"""
