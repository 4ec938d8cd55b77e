"""The command line: one short file per verb. Only this folder prints.

A verb's file has a docstring (its help), EXAMPLE, `add_arguments(parser)` and `run(args) -> exit code`. An entry point
in the group `edgehone.verbs` registers it (see `verbs.py`).
"""
