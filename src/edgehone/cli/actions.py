"""Actions of a verb (`edgehone registry push`): one module each in the verb's package.

The module of an action has a docstring, EXAMPLE, `add_arguments(parser)` and `run(args) -> exit code`, as that of a
verb has.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping
from typing import cast

from edgehone.cli.verbs import VerbModule


def add_actions(
    parser: argparse.ArgumentParser,
    modules: Mapping[str, str],
    common: Callable[[argparse.ArgumentParser], None] | None = None,
) -> None:
    """Add a subparser for each action, with the action's own arguments, the `common` ones, and --json.

    `modules` maps the names of the actions, in the order of the help text, to the names of their modules.
    """
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    for name, module_name in modules.items():
        module = _load(module_name)
        summary = (module.__doc__ or "").partition("\n")[0].removesuffix(".")
        action = actions.add_parser(
            name,
            help=summary.replace("%", "%%"),
            description=module.__doc__,
            epilog=module.EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(action)
        if common is not None:
            common(action)
        action.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON instead of text"
        )


def run_action(args: argparse.Namespace, modules: Mapping[str, str]) -> int:
    """Run the chosen action. Returns its exit code."""
    return _load(modules[args.action]).run(args)


def _load(name: str) -> VerbModule:
    return cast(VerbModule, importlib.import_module(name))
