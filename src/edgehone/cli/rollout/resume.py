"""Go on with a rollout that was paused."""

from __future__ import annotations

import argparse

from edgehone.cli.rollout.common import act

EXAMPLE = """examples:
  edgehone rollout resume demo-model --to http://127.0.0.1:8080 --admin-key-file operators
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("name", metavar="NAME", help="the name of what is served")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return act(args)
