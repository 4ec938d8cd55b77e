"""Roll out a version: it gets the requests step by step, is compared with the old one, and is rolled back if worse.

The server serves both versions. Latency, errors and quality of their answers are compared by sequential tests, which
are valid at any number of requests. A challenger that is shown to be worse is rolled back at once; one that is shown
not to be worse goes on; no data never counts as success (docs/rollout.md). The server goes on if this command is ended.
"""

from __future__ import annotations

import argparse

from edgehone.cli.actions import add_actions, run_action

EXAMPLE = """examples:
  edgehone rollout start demo-model@3 --to http://127.0.0.1:8080 --strategy ramp --admin-key-file operators
  edgehone rollout start chat --bundle ./chat-v2 --to http://127.0.0.1:8080 --strategy blue-green
  edgehone rollout status --to http://127.0.0.1:8080
  edgehone rollout abort demo-model --to http://127.0.0.1:8080
"""
ACTIONS = {name: f"{__name__}.{name}" for name in ("start", "pause", "resume", "abort", "status", "history")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions, each with its arguments."""
    add_actions(parser, ACTIONS, _add_common)


def _add_common(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--to",
        metavar="URL",
        required=True,
        help="the server: http://127.0.0.1:8080; or HAProxy: 'haproxy:/run/haproxy/admin.sock#BACKEND'",
    )
    action.add_argument(
        "--state",
        metavar="DIR",
        help="folder of rollouts over HAProxy (default: rollouts/haproxy in EDGEHONE_HOME)",
    )
    action.add_argument(
        "--admin-key-file", metavar="FILE", help="file with an operator's key of the server, mode 600"
    )
    action.add_argument("--ca", metavar="FILE", help="certificates (PEM) by which an HTTPS server is checked")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return run_action(args, ACTIONS)
