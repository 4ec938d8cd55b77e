"""Conformance: one suite over all backends, which a plugin's author runs on his own.

A check is a function. Its name is the check's, its docstring says what is demanded and why, and it returns what
was seen, raises `Failed` with what was seen instead, or `Skipped` with the reason.

outcome          what a check gives
module_checks    core side: the module's names, its answers, recipes, steps, imports, environment
session_checks   worker side: an opened language model
graph_checks     worker side: an opened graph
worker           the jobs that build and that run the worker's checks
models           the tiny models that are built, and the made-up ones that are only asked about
suite            all of it for one backend
"""
