"""Show a version: what it is, its aliases, and its files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from edgehone.cli.registry.common import megabytes, opened
from edgehone.core.printable import printable

EXAMPLE = """examples:
  edgehone registry show demo-model:production
  edgehone registry show demo-model:3 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("version", metavar="VERSION", help="NAME, NAME:3, NAME:production or NAME@sha256:…")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    registry = opened(args)
    from edgehone.registry.listing import describe
    from edgehone.registry.names import parse

    about = describe(registry, parse(args.version))
    if args.json:
        print(json.dumps(about, indent=1))
        return 0
    print("\n".join(map(printable, _lines(about))))
    return 0


def _lines(about: Mapping[str, Any]) -> Iterator[str]:
    facts = about["facts"]
    yield f"{about['name']}:{about['number']}  {about['digest']}"
    yield f"  {facts['backend']}/{facts['recipe']} of {facts['model']} for {facts['device']}"
    yield f"  approved: {about['approval']}; signed by: {about['signed_by'] or 'not verified at the push'}"
    yield f"  pushed {about['pushed'][:16]} by {about['pushed_by']}; {megabytes(about['size'])}"
    yield f"  aliases: {', '.join(about['aliases']) or 'none'}; copies: {', '.join(about['copies']) or 'none'}"
    if about["removed"]:
        yield f"  its files were removed on {about['removed'][:10]}"
    for file in about["files"]:
        chunks = f"  in {file['chunks']} chunks" if file["chunks"] else ""
        yield f"  {file['digest'][7:19]}  {file['size']:>12,}  {file['path']}{chunks}"
