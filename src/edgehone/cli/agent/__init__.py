"""Keep devices on the release of a signed channel in an OCI registry, and publish releases to them in waves.

`run` is the agent of a device: it pulls, verifies, proves and switches by itself, goes back when a release fails, and
reports to the registry; it needs no inbound port for that. The other actions are the publisher's (docs/fleets.md).
`edgehone agent run --help` and the like tell more.
"""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType

EXAMPLE = """examples:
  edgehone agent publish oci://registry.example/models/demo:stable ./bundle --key channel.key --wave 5% --wave 50%
  edgehone agent run agent.toml
  edgehone agent status oci://registry.example/models/demo:stable --key channel.pub --devices fleet-ca.pem
  edgehone agent advance oci://registry.example/models/demo:stable --key channel.key --every 60
  edgehone agent halt oci://registry.example/models/demo:stable --key channel.key --why "wrong answers in the field"
"""
ACTIONS = ("run", "show", "publish", "status", "advance", "halt", "renew")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions, each with its arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    for name in ACTIONS:
        module = _module(name)
        summary = (module.__doc__ or "").partition("\n")[0].removesuffix(".")
        action = actions.add_parser(
            name,
            help=summary.replace("%", "%%"),
            description=module.__doc__,
            epilog=module.EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(action)
        action.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON instead of text"
        )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return int(_module(args.action).run(args))


def _module(name: str) -> ModuleType:
    # A module called run would take the place of this package's function of that name.
    return importlib.import_module(f"edgehone.cli.agent.{'run_agent' if name == 'run' else name}")
