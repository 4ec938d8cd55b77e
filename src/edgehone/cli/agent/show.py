"""Show the state of this device's agent: its slots, the active release, and the outcomes of releases."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

EXAMPLE = """examples:
  edgehone agent show agent.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("settings", metavar="FILE", type=Path, help="settings of the agent")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from dataclasses import asdict

    from edgehone.cli.agent.common import check_packages
    from edgehone.fleet.serving import is_ready
    from edgehone.fleet.settings import read_settings
    from edgehone.fleet.state import read_state

    check_packages()
    settings = read_settings(args.settings)
    state, ready = read_state(settings.folder, settings.channel), is_ready(settings)
    if args.json:
        print(json.dumps({**asdict(state), "device": settings.device, "ready": ready}, indent=1))
        return 0
    print(f"{settings.device} follows {settings.address}, version {state.memory.version}")
    for side, release in sorted(state.slots.items()):
        role = "active" if side == state.active else "on trial" if state.trial else "kept"
        print(f"  slot {side}: release {release.number} ({release.name}), {role}")
    if not state.slots:
        print("  no release is installed yet")
    print(f"  port {settings.settings.port}: {'ready' if ready else 'not ready'}")
    for one in state.outcomes:
        print(f"  {one.at}  release {one.release}: {one.result}{f': {one.reason}' if one.reason else ''}")
    return 0
