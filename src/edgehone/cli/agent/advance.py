"""Open the next wave of a release, or halt it, by what the devices report.

A wave passes when its failures are shown to be below the limit, or when all of its devices have ended; a release is
halted when the failures of a wave are shown to be above it (fleet.toml, docs/fleets.md). The channel is signed anew
before it expires. With --every the action goes on until all waves are open and have passed.

Exit code 0: nothing is wrong. 3: the release is halted.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from edgehone.cli.agent.common import add_judging, add_signing, devices, publisher

if TYPE_CHECKING:
    from edgehone.fleet.publish import View

EXAMPLE = """examples:
  edgehone agent advance oci://registry.example/models/demo:stable --key channel.key --devices fleet-ca.pem
  edgehone agent advance oci://registry.example/models/demo:stable --key channel.key --every 60
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    add_signing(parser)
    add_judging(parser)
    parser.add_argument(
        "--every", type=float, metavar="S", help="look again every so many seconds (default: look once)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from edgehone.core.errors import InputError
    from edgehone.fleet.publish import advance
    from edgehone.fleet.rules import judge_rules

    if args.every is not None and args.every <= 0:
        raise InputError(f"--every is {args.every:g}", hint="give a number of seconds above 0")
    signer, signers, rules = publisher(args), devices(args), judge_rules(args.rules)
    while True:
        found, done = advance(signer, signers, rules)
        _print(found, done, as_json=args.json)
        if done.startswith("halted") or found.channel.halted:
            return 3
        if args.every is None or (done == "nothing" and _finished(found)):
            return 0
        time.sleep(args.every)


def _finished(found: View) -> bool:
    return len(found.judgements) == len(found.counts) and all(
        one.action == "pass" for one in found.judgements
    )


def _print(found: View, done: str, *, as_json: bool) -> None:
    from edgehone.cli.agent.status import lines, to_json

    if as_json:
        print(json.dumps({"done": done, **to_json(found)}), flush=True)
        return
    for line in [*lines(found), f"done: {done}"]:
        print(line, flush=True)
