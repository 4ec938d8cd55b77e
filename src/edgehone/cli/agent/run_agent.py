"""Run the agent of a device, which follows the channel that its settings name.

It serves the release that the channel allows to this device on one port: the new bundle is pulled beside the running
one, verified, started and proven, takes over the port, and is watched; if it fails the old one goes on. SIGTERM ends
the agent and its server; if the agent is killed its server goes on, and the next agent takes it over.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

EXAMPLE = """examples:
  edgehone agent run agent.toml
  edgehone agent run /etc/edgehone/agent.toml --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "settings", metavar="FILE", type=Path, help="settings of the agent (TOML, docs/fleets.md)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    import signal
    import sys
    import threading

    from edgehone.cli.agent.common import check_packages
    from edgehone.core.errors import SetupError

    if not sys.platform.startswith("linux"):
        raise SetupError(
            f"the agent runs on Linux; this is {sys.platform}", hint="see docs/fleets.md for other systems"
        )
    check_packages("uvicorn")
    from edgehone.fleet.agent import run_agent
    from edgehone.fleet.settings import read_settings

    settings = read_settings(args.settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run_agent(settings, lambda text: _say(text, as_json=args.json), stop)
    return 0


def _say(text: str, *, as_json: bool) -> None:
    print(json.dumps({"event": "agent", "text": text}) if as_json else text, flush=True)
