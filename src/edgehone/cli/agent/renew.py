"""Sign a channel anew, as it is, so that it stays valid.

Devices do not follow a channel whose document has expired: they cannot know what it hides from them. Run this, or
`edgehone agent advance`, more often than every --expires days.
"""

from __future__ import annotations

import argparse
import json

from edgehone.cli.agent.common import add_signing, publisher, told

EXAMPLE = """examples:
  edgehone agent renew oci://registry.example/models/demo:stable --key channel.key --expires 14
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    add_signing(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from dataclasses import asdict

    from edgehone.fleet.publish import renew

    channel = renew(publisher(args))
    print(json.dumps(asdict(channel), indent=1) if args.json else told(channel))
    return 0
