"""Keep bundles in a registry: versions, aliases, their history, and copies in OCI registries.

A registry is a folder (default: registry in EDGEHONE_HOME), or a PostgreSQL database with a folder of blobs. A version
is named NAME:3, NAME:production or NAME@sha256:…; NAME alone is its newest version. For the options of the
actions: edgehone registry push --help, and so on.
"""

from __future__ import annotations

import argparse

from edgehone.cli.actions import add_actions, run_action

EXAMPLE = """examples:
  edgehone registry push ./bundle
  edgehone registry alias demo-model production 3 --why "passed the field test"
  edgehone registry at 2026-11-27T14:03 production
  edgehone registry push demo-model:3 --to oci://registry.example/models/demo:3
  edgehone registry pull demo-model:production --out ./bundle
"""
ACTIONS = {
    name: f"{__name__}.{name}"
    for name in ("push", "pull", "list", "show", "history", "alias", "rollback", "at", "diff", "gc", "verify")
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions, each with its arguments."""
    add_actions(parser, ACTIONS, _add_common)


def _add_common(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--registry",
        metavar="WHERE",
        help="folder, or URL of a PostgreSQL database (default: registry in EDGEHONE_HOME)",
    )
    action.add_argument(
        "--blobs", metavar="FOLDER", help="folder of the blobs (default: that of the registry)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return run_action(args, ACTIONS)
