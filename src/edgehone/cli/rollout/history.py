"""Show all rollouts of a server with their steps and reasons."""

from __future__ import annotations

import argparse
import json

from edgehone.cli.rollout.common import found_rollouts, line

EXAMPLE = """examples:
  edgehone rollout history --to http://127.0.0.1:8080 --admin-key-file operators
  edgehone rollout history demo-model --to http://127.0.0.1:8080 --admin-key-file operators --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="only of this name")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    found = found_rollouts(args)
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    for one in found:
        asked = f" by {one['by']}" if one["by"] else ""
        print(f"{one['began'][:19]} {one['id']}{asked}  {line(one)}")
        for event in one["events"]:
            print(f"  {event['at'][:19]} {event['kind']}: {event['says']}")
    if not found:
        print("there were no rollouts")
    return 0
