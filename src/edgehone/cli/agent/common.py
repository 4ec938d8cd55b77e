"""What several actions of `edgehone agent` share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.fleet.channel import Channel
    from edgehone.fleet.devices import DeviceKeys
    from edgehone.fleet.publish import Publisher


def add_channel(parser: argparse.ArgumentParser) -> None:
    """Add the channel's address."""
    parser.add_argument("channel", metavar="CHANNEL", help="oci://HOST/REPOSITORY:NAME")


def add_signing(parser: argparse.ArgumentParser) -> None:
    """Add the channel and the key that signs it."""
    add_channel(parser)
    parser.add_argument(
        "--key", metavar="FILE", required=True, help="private EC key (PEM) that signs the channel"
    )
    parser.add_argument("--password-file", metavar="FILE", help="file with the password of the key")
    parser.add_argument(
        "--certificate",
        metavar="FILE",
        action="append",
        default=[],
        help="certificate (PEM) of the key, and those of its issuers; can be repeated",
    )
    parser.add_argument(
        "--expires",
        type=float,
        metavar="DAYS",
        help="days for which the channel is valid after each signature (default: 7)",
    )


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Add whose reports count, and by which rules waves are judged."""
    parser.add_argument(
        "--devices",
        metavar="[NAME=]FILE",
        action="append",
        default=[],
        help="public key of the device NAME, or of the one that the file is named after; or the certificate of the "
        "issuer of devices' certificates, whose common names are the devices' (PEM); can be repeated; only reports "
        "that their own devices signed count (default: all, unchecked)",
    )
    parser.add_argument(
        "--rules",
        metavar="FILE",
        type=Path,
        help="TOML file that replaces figures of waves, such as limit = 0.02",
    )


def publisher(args: argparse.Namespace) -> Publisher:
    """Return who signs the channel."""
    from edgehone.attestation.keys import read_signing_key
    from edgehone.fleet.channel import channel_address
    from edgehone.fleet.publish import Publisher
    from edgehone.fleet.rules import channel_rules

    check_packages("sqlalchemy", extra="certify,registry")
    key = read_signing_key(args.key, password_file=args.password_file, certificates=args.certificate)
    return Publisher(channel_address(args.channel), key, channel_rules(args.expires))


def devices(args: argparse.Namespace) -> DeviceKeys | None:
    """Return whose reports count; None: all."""
    from edgehone.fleet.devices import read_devices

    return read_devices(args.devices) if args.devices else None


def check_packages(*more: str, extra: str = "agent") -> None:
    """Raise SetupError if a package that fleets need is missing."""
    from importlib.util import find_spec

    from edgehone.core.errors import SetupError

    for name in ("httpx", "cryptography", *more):
        if find_spec(name) is None:
            raise SetupError(
                f"`edgehone agent` needs the package {name}, which is not installed",
                hint=f'pip install "edgehone[{extra}]"',
            )


def told(channel: Channel) -> str:
    """Return a channel in a few words."""
    release = channel.release
    waves = ", ".join(wave.name for wave in channel.waves[: channel.open])
    state = f"halted: {channel.halted}" if channel.halted else f"open to {waves}"
    return (
        f"{channel.channel} version {channel.version}: release {release.number} ({release.name}), {state}; "
        f"valid until {channel.expires}"
    )
