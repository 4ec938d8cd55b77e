"""Conformance: one test suite for all backends, which authors of plugins can run too.

A check is a function. Its name is the name of the check, and its docstring states the requirement and the reason for
it. It returns what it observed, or raises `Failed` with the observation that violates the requirement, or `Skipped`
with the reason.

suite              run all checks for one backend
module_checks      core side: the module's names, supports(), recipes, steps, imports, environment
capability_checks  core side: optional names and their signatures
device_checks      core side: recipes for accelerators
models             the tiny models that are built, and made-up models that supports() and recipes() are called with
selfcheck          `edgehone backends check`: a short inference

In `edgehone.worker.conformance`:
outcome            the result of a check
run_checks         the jobs that build a step and run the worker's checks
session_checks     an opened language model
generation_checks  its generation of tokens
logits             the logits of a session, and the distance of two of them
graph_checks       an opened graph
device_checks      the visible devices
"""
