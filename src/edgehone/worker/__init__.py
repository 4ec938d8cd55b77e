"""Code that runs in a backend's environment: scoring, timing, memory measurement and generation.

A worker process has the standard library, numpy and the backend's own framework. Loading a module of this folder
imports only the standard library, numpy and modules of edgehone that follow the same rule; frameworks are imported
inside functions. `tools/check_imports.py` enforces this.
"""
