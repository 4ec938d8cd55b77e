"""What the actions share: the server that the arguments name, and a rollout as text."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
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
    if over_haproxy(args):
        from edgehone.rollout.drive.balanced import ask, go_on

        if args.action == "resume":
            found = go_on(haproxy_state(args), args.name, say, interrupted())
        else:
            found = ask(haproxy_state(args), args.name, args.action)
    else:
        from edgehone.rollout.drive.follow import act

        found = dict(act(server_of(args), args.name, args.action))
    print(json.dumps(found, indent=1) if args.json else line(found))
    return 0


def found_rollouts(args: argparse.Namespace) -> list[Mapping[str, Any]]:
    """Return the rollouts that the arguments name."""
    if over_haproxy(args):
        from edgehone.rollout.drive import balanced

        return [*balanced.rollouts(haproxy_state(args), args.name)]
    from edgehone.rollout.drive.follow import rollouts

    return rollouts(server_of(args), args.name)


def over_haproxy(args: argparse.Namespace) -> bool:
    """Return whether HAProxy moves the requests, not a server."""
    return str(args.to).startswith("haproxy:")


def haproxy_state(args: argparse.Namespace) -> Path:
    """Return the folder of the rollouts over HAProxy."""
    from edgehone.execution.home import home

    return Path(args.state) if args.state else home() / "rollouts" / "haproxy"


def interrupted() -> Callable[[], bool]:
    """Return a function that says whether SIGTERM or Ctrl-C has come since."""
    import signal
    import threading

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return ended.is_set


def say(text: str) -> None:
    """Print what happens meanwhile."""
    print(text, file=sys.stderr, flush=True)


def line(told: Mapping[str, Any]) -> str:
    """Return a rollout in a line."""
    challenger = told["challenger"]["label"]
    stage = f" at {told['stage']}" if "stage" in told else ""
    share = f", {100 * told['weight']:g} % of the requests" if told["weight"] else ""
    text = f"{told['name']}: {told['strategy']} to {challenger}: {told['status']}{stage}{share}"
    waits = told.get("waits_for")
    return f"{text}; waits for {waits}" if waits else f"{text}; {told['reason']}" if told["reason"] else text
