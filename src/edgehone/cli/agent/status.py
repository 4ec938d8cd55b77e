"""Show a channel: its release, its waves, and what devices report.

Devices are known by their reports. --key is the public key of the channel; with --devices only reports that their own
devices signed are counted.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from edgehone.cli.agent.common import add_channel, add_judging, check_packages, devices, told

if TYPE_CHECKING:
    from edgehone.fleet.publish import View

EXAMPLE = """examples:
  edgehone agent status oci://registry.example/models/demo:stable --key channel.pub
  edgehone agent status oci://registry.example/models/demo:stable --key channel.pub --devices fleet-ca.pem --json
"""
_WORDS = ("good", "failed", "silent", "unable", "started", "waits")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    add_channel(parser)
    parser.add_argument(
        "--key", metavar="FILE", required=True, help="public key or trusted certificate (PEM) of the channel"
    )
    add_judging(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    check_packages("sqlalchemy", extra="certify,registry")
    from edgehone.attestation.keys import read_verification_key
    from edgehone.fleet.channel import channel_address
    from edgehone.fleet.publish import view
    from edgehone.fleet.rules import judge_rules

    key = read_verification_key([args.key])
    found = view(channel_address(args.channel), key, devices(args), judge_rules(args.rules))
    if args.json:
        print(json.dumps(to_json(found), indent=1))
        return 0
    for line in lines(found):
        print(line)
    if not args.devices:
        print("note: who signed the reports is not checked: give --devices")
    return 0


def to_json(found: View) -> dict[str, Any]:
    """Return a view as a plain dict."""
    from dataclasses import asdict

    return {
        "channel": asdict(found.channel),
        "waves": [{"name": one.wave, "devices": dict(one.devices)} for one in found.counts],
        "judgements": [asdict(one) for one in found.judgements],
        "reports": [{**asdict(one.report), "signed_by": one.signed_by} for one in found.reports],
        "problems": found.problems,
    }


def lines(found: View) -> list[str]:
    """Return a view as text."""
    text = [told(found.channel)]
    for index, count in enumerate(found.counts):
        shown = ", ".join(f"{count.of(word)} {word}" for word in _WORDS if count.of(word))  # type: ignore[arg-type]
        is_open = "open" if index < found.channel.open else "not open"
        text.append(
            f"  {count.wave:<16} {is_open:<9} {len(count.devices)} devices: {shown or 'none has reported'}"
        )
    text += [f"  {one.action}: {one.reason}" for one in found.judgements]
    for one in found.reports:
        outcome = one.report.outcome(found.channel.release.manifest)
        if outcome is not None and outcome.result in ("failed", "unable"):
            text.append(f"  {one.report.device} {outcome.result}: {outcome.reason}")
    return text + [f"  left out: {problem}" for problem in found.problems]
