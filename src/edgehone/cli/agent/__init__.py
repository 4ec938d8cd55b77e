"""Keep devices on the release of a signed channel in an OCI registry, and publish releases to them in waves.

`run` is the agent of a device: it pulls, verifies, proves and switches to releases, goes back when a release fails, and
reports to the registry; it needs no inbound port for that. The other actions are the publisher's (docs/fleets.md). For
their options: edgehone agent run --help, and so on.
"""

from __future__ import annotations

import argparse

from edgehone.cli.actions import add_actions, run_action

EXAMPLE = """examples:
  edgehone agent publish oci://registry.example/models/demo:stable ./bundle --key channel.key --wave 5% --wave 50%
  edgehone agent run agent.toml
  edgehone agent status oci://registry.example/models/demo:stable --key channel.pub --devices fleet-ca.pem
  edgehone agent advance oci://registry.example/models/demo:stable --key channel.key --every 60
  edgehone agent halt oci://registry.example/models/demo:stable --key channel.key --why "wrong answers in the field"
"""
# A module called run would replace this package's function of that name.
ACTIONS = {
    name: f"{__name__}.{'run_agent' if name == 'run' else name}"
    for name in ("run", "show", "publish", "status", "advance", "halt", "renew")
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions, each with its arguments."""
    add_actions(parser, ACTIONS)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return run_action(args, ACTIONS)
