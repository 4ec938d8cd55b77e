"""Halt the release of a channel: no further device takes it.

Devices that run it already stay on it: publish an older bundle again, as a new release, to bring them back.
"""

from __future__ import annotations

import argparse
import json

from edgehone.cli.agent.common import add_signing, publisher, told

EXAMPLE = """examples:
  edgehone agent halt oci://registry.example/models/demo:stable --key channel.key --why "wrong answers in the field"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    add_signing(parser)
    parser.add_argument(
        "--why", metavar="TEXT", required=True, help="the reason, which devices and status show"
    )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from dataclasses import asdict

    from edgehone.core.errors import InputError
    from edgehone.fleet.publish import halt

    if not args.why.strip():
        raise InputError("--why is empty", hint='--why "wrong answers in the field"')
    channel = halt(publisher(args), args.why.strip())
    print(json.dumps(asdict(channel), indent=1) if args.json else told(channel))
    return 0
