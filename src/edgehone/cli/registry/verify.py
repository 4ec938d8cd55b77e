"""Verify the whole registry: its history, its tables, and every blob.

Exit code 1 if anything is damaged or was edited. Note the hash of the last event somewhere else: with --head HASH a
later run proves that the history up to it was not written anew.
"""

from __future__ import annotations

import argparse
import json

from edgehone.cli.registry.common import megabytes, opened

EXAMPLE = """examples:
  edgehone registry verify
  edgehone registry verify --quick --head 4f0c…
  edgehone registry verify --set-aside    # then push the damaged bundles again
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "--quick", action="store_true", help="do not read the blobs, only look whether they are there"
    )
    parser.add_argument(
        "--head", metavar="HASH", help="hash of an event, noted earlier, that must be in the history"
    )
    parser.add_argument(
        "--set-aside",
        action="store_true",
        help="move damaged blobs away, so that a push or pull adds them again",
    )


def run(args: argparse.Namespace) -> int:
    """Run the action. Returns 1 if there are problems."""
    registry = opened(args)
    from edgehone.registry.verify import set_aside, verify

    found = verify(registry, quick=args.quick, head=args.head)
    moved = set_aside(registry, found.damaged) if args.set_aside else 0
    if args.json:
        print(json.dumps({**found.to_json(), "moved": moved}, indent=1))
        return 1 if found.problems else 0
    for problem in found.problems:
        print(f"problem: {problem}")
    for note in found.notes:
        print(f"note: {note}")
    if moved:
        print(f"moved {moved} damaged files to {registry.blobs.folder / 'damaged'}")
    read = "are there" if args.quick else "are what their digests say"
    if not found.problems:
        print(f"{found.versions} versions; {found.blobs} blobs ({megabytes(found.bytes)}) {read}")
        print(f"{found.events} events follow each other; the last is {found.head}")
    return 1 if found.problems else 0
