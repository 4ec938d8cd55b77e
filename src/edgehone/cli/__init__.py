"""The command line: one thin file a verb. Only this folder prints.

A verb's file has a docstring (its help), EXAMPLE, `add_arguments(parser)` and `run(args) -> exit code`.
"""
