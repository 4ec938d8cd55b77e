"""Show a version: what it is, its aliases, and its files."""

from __future__ import annotations

import argparse
import json

from edgehone.cli.registry.common import megabytes, opened

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
    facts = about["facts"]
    print(f"{about['name']}:{about['number']}  {about['digest']}")
    print(f"  {facts['backend']}/{facts['recipe']} of {facts['model']} for {facts['device']}")
    print(f"  approved: {about['approval']}; signed by: {about['signed_by'] or 'not verified at the push'}")
    print(f"  pushed {about['pushed'][:16]} by {about['pushed_by']}; {megabytes(about['size'])}")
    print(
        f"  aliases: {', '.join(about['aliases']) or 'none'}; copies: {', '.join(about['copies']) or 'none'}"
    )
    if about["removed"]:
        print(f"  its files were removed on {about['removed'][:10]}")
    for file in about["files"]:
        chunks = f"  in {file['chunks']} chunks" if file["chunks"] else ""
        print(f"  {file['digest'][7:19]}  {file['size']:>12,}  {file['path']}{chunks}")
    return 0
