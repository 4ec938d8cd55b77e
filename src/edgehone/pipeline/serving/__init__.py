"""Servers that stages start or change: load in staging, and the switch from one version to another.

The stages call these functions in a child process, so a server that they start ends with the pipeline.
"""
