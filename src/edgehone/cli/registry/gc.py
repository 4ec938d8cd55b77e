"""Remove blobs that no version needs, and with --keep old versions.

With --keep N the files of all but the newest N versions of each model are given up, except of those that have or ever
had an alias. Their entries in the list and the history stay.
"""

from __future__ import annotations

import argparse
import json
import sys

from edgehone.cli.registry.common import add_who, megabytes, opened, who

EXAMPLE = """examples:
  edgehone registry gc
  edgehone registry gc --keep 10 --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "--keep", metavar="N", type=int, help="give up all but the newest N versions of each model"
    )
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be removed")
    add_who(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    registry = opened(args)
    from edgehone.registry.collect import collect

    done = collect(registry, by=who(args), keep=args.keep, dry=args.dry_run, on_wait=_tell)
    if args.json:
        print(json.dumps(done.to_json(), indent=1))
        return 0
    verb = "would remove" if args.dry_run else "removed"
    if done.versions:
        print(f"{verb} the files of {', '.join(done.versions)}")
    print(f"{verb} {done.files} files, {megabytes(done.bytes)}")
    return 0


def _tell(held: str) -> None:
    print(f"waiting for a push or pull: {held}", file=sys.stderr, flush=True)
