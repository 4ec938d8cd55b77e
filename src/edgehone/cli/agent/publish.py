"""Publish a bundle as the new release of a channel: push it, and sign the channel.

The bundle must be signed and approved (edgehone certify). It goes to the devices of the first --wave; `edgehone agent
advance` opens further ones as their devices report. After the waves that are given, one of all devices follows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edgehone.cli.agent.common import add_signing, publisher, told
from edgehone.cli.registry.common import add_who, opened, who

EXAMPLE = """examples:
  edgehone agent publish oci://registry.example/models/demo:stable ./bundle --key channel.key
  edgehone agent publish oci://registry.example/models/demo:stable ./bundle --key channel.key --wave site=lab --wave 10%
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    add_signing(parser)
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="folder of a certified bundle")
    parser.add_argument(
        "--wave",
        metavar="WAVE",
        action="append",
        default=[],
        help="a share of the devices (10%%) or labels (site=lab,ring=0); can be repeated (default: all at once)",
    )
    parser.add_argument(
        "--registry", metavar="WHERE", help="this machine's registry (default: registry in EDGEHONE_HOME)"
    )
    parser.add_argument(
        "--blobs", metavar="FOLDER", help="folder of its blobs (default: that of the registry)"
    )
    add_who(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from dataclasses import asdict

    from edgehone.fleet.publish import publish
    from edgehone.fleet.waves import parse_waves

    signer, waves = publisher(args), parse_waves(args.wave)
    channel = publish(signer, opened(args), args.bundle, waves, by=who(args))
    print(json.dumps(asdict(channel), indent=1) if args.json else told(channel))
    return 0
