"""Measuring: quality, speed, memory and energy, each in a pass of its own, so that none disturbs another.

In each file the functions that take a `WorkerJob` run in a backend's environment, beside its framework, and import
nothing but the standard library and numpy; the others run in the core and turn what was recorded into figures.
"""
