"""List the versions of all models, or of one."""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager

from edgehone.cli.registry.common import columns, megabytes, opened

EXAMPLE = """examples:
  edgehone registry list
  edgehone registry list demo-model --json
"""
_COLUMNS = ("version", "approved", "aliases", "candidate", "size", "pushed", "by")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="only the versions of this model")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    with _without_collector():
        return _list(args)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Switch Python's garbage collector off meanwhile: 10,000 versions are no garbage, and it looks at each again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _list(args: argparse.Namespace) -> int:
    registry = opened(args)
    from edgehone.registry.listing import versions
    from edgehone.registry.names import check_name

    found = versions(registry, check_name(args.name) if args.name else None)
    if args.json:
        print(json.dumps([{**version.to_json(), "aliases": aliases} for version, aliases in found], indent=1))
        return 0
    if not found:
        print("The registry is empty. Next:  edgehone registry push BUNDLE")
        return 0
    rows = [
        (
            version.reference,
            version.approval if not version.removed else "removed",
            ", ".join(aliases) or "-",
            f"{version.facts['backend']}/{version.facts['recipe']}",
            megabytes(version.size),
            version.pushed[:16].replace("T", " "),
            version.pushed_by,
        )
        for version, aliases in found
    ]
    print(columns([_COLUMNS, *rows]))
    return 0
