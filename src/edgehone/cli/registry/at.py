"""Show what an alias pointed to at a time, with the proof.

The proof is the event that moved the alias, and the hash of the last event, which covers every event before it. A time
without a zone is in UTC.
"""

from __future__ import annotations

import argparse
import json

from edgehone.cli.registry.common import opened
from edgehone.core.printable import printable

EXAMPLE = """examples:
  edgehone registry at 2026-11-27T14:03 production
  edgehone registry at 2026-11-27T15:03+01:00 demo-model:production --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("time", metavar="TIME", help="2026-11-27T14:03, in UTC unless it names a zone")
    parser.add_argument("alias", metavar="[NAME:]ALIAS", help="the alias, of all models or of one")


def run(args: argparse.Namespace) -> int:
    """Run the action. Returns 1 if the alias pointed to nothing."""
    registry = opened(args)
    from edgehone.registry.moments import at
    from edgehone.registry.names import check_name

    name, colon, alias = args.alias.rpartition(":")
    answer = at(registry, args.time, alias, check_name(name) if colon else None)
    if args.json:
        print(json.dumps(answer.to_json(), indent=1))
        return 0 if answer.moments else 1
    for moment in answer.moments:
        event = moment.event
        shown = f"{moment.version.reference}  {moment.version.digest}" if moment.version else "none"
        print(f"{moment.name}:{moment.alias} was {shown}")
        until = moment.until[:19] if moment.until else "now"
        moved = f"moved by {event.by}: {event.to_json()['detail']['why']}"
        print(printable(f"  from {event.at[:19]} until {until}; {moved}"))
        if moment.version:
            signed = moment.version.signed_by or "not verified at the push"
            print(f"  approved: {moment.version.approval}; signed by: {signed}")
        print(f"  event {event.seq}  {event.hash}")
    if not answer.moments:
        print(f"{args.alias} pointed to nothing at {answer.time[:19]}")
    print(f"proof: {answer.events} events, each with the hash of the one before it, up to {answer.head}")
    return 0 if answer.moments else 1
