"""The steps of an optimization run. `optimize.py` shows the whole run; read it first.

Each other file is one step: which jobs it runs, in what order, which of them run in parallel, and how failures are
handled.
"""
