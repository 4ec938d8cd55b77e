"""The stages of a run, in order: bench, original, build, check, measure.

`optimize.py` tells the story; each file here is one chapter: which jobs it takes, in what order, what may run side
by side, and what becomes of a failure.
"""
