"""Show what happened: every event, or those of a model or of one of its aliases.

The events are chained by their hashes; `edgehone registry verify` checks the chain.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from edgehone.cli.registry.common import opened
from edgehone.core.printable import printable

if TYPE_CHECKING:
    from edgehone.registry.events import Event

EXAMPLE = """examples:
  edgehone registry history
  edgehone registry history demo-model production
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="only the events of this model")
    parser.add_argument("alias", metavar="ALIAS", nargs="?", help="only the moves of this alias of it")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    registry = opened(args)
    from edgehone.registry.listing import history
    from edgehone.registry.names import check_alias, check_name

    name = check_name(args.name) if args.name else None
    found = history(registry, name, check_alias(args.alias) if args.alias else None)
    if args.json:
        print(json.dumps([event.to_json() for event in found], indent=1))
        return 0
    for event in found:
        print(line(event))
    if not found:
        print("Nothing happened yet.")
    return 0


def line(event: Event) -> str:
    """Return an event as a line of text."""
    detail = event.told
    version = f"{event.name}:{event.number}" if event.number else event.name
    came = detail.get("from") or "none"
    what = {
        "push": f"push {version} ({detail.get('source') or 'from a bundle'}; approved: {detail.get('approval')})",
        "alias": f"{event.name}:{event.alias} {came} → {event.number}{' (forced)' if detail.get('forced') else ''}",
        "rollback": f"{event.name}:{event.alias} {came} → {event.number} (rollback)",
        "drop": f"{event.name}:{event.alias} {came} → none",
        "copy": f"copy {version} {detail.get('to') or detail.get('from')}",
        "remove": f"remove {version}",
        "operate": f"operate {version} ({detail.get('step')})",
    }.get(event.kind, event.kind)
    why = f": {detail['why']}" if detail.get("why") else ""
    return printable(f"{event.seq:>5}  {event.at[:19].replace('T', ' ')}  {event.by}  {what}{why}")
