"""What the actions share: the server that the arguments name, and a rollout as text."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgehone.operate.server import Server


def server_of(args: argparse.Namespace) -> Server:
    """Return the server that the arguments name. Raises InputError."""
    from edgehone.cli.operate import operator_key
    from edgehone.operate.server import Server

    return Server(args.to, operator_key(args.admin_key_file), Path(args.ca) if args.ca else None)


def act(args: argparse.Namespace) -> int:
    """Pause, resume or abort, and print what became of it."""
    from edgehone.rollout.drive.follow import act

    found = act(server_of(args), args.name, args.action)
    print(json.dumps(found, indent=1) if args.json else line(found))
    return 0


def line(told: Mapping[str, Any]) -> str:
    """Return a rollout in a line."""
    challenger = told["challenger"]["label"]
    stage = f" at {told['stage']}" if "stage" in told else ""
    share = f", {100 * told['weight']:g} % of the requests" if told["weight"] else ""
    text = f"{told['name']}: {told['strategy']} to {challenger}: {told['status']}{stage}{share}"
    waits = told.get("waits_for")
    return f"{text}; waits for {waits}" if waits else f"{text}; {told['reason']}" if told["reason"] else text
