"""Whether a device accepts a channel's document: TUF's rules against rollback, freeze and mixing, on one document.

The clock of a device may be behind: without a battery it starts in 1970. So the time used is never earlier than
the signing time of the newest accepted document. A clock that is ahead makes documents look expired, which stops
updates and nothing else. The clock's time is not stored, so updates go on once the clock is correct.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from edgehone.core.typed_json import OPTIONAL, Count
from edgehone.fleet.channel import Channel, moment
from edgehone.fleet.errors import Refused


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Stored facts of the accepted documents: the newest version, its digest, and when it was signed.

    `release` is the highest release that was named to any device.
    """

    version: Count = 0
    digest: str = ""
    issued: str | None = None
    release: Count = field(default=0, metadata=OPTIONAL)


def digest_of_document(data: bytes) -> str:
    """Return the SHA-256 of a document."""
    return hashlib.sha256(data).hexdigest()


def accept(channel: Channel, digest: str, name: str, memory: Memory, clock: datetime) -> Memory:
    """Return what to remember of a document whose signature is right. Raises Refused if it must not be followed.

    `digest` is that of the document, `name` the channel that was asked for, `clock` what the device's clock says.
    """
    if channel.channel != name:
        raise Refused(
            "mixed",
            f"the document is of the channel {channel.channel}, not {name}",
            hint="it was written to the wrong tag; publish the channel again",
        )
    _check_order(channel, digest, memory)
    issued = moment(channel.issued)
    if memory.issued is not None and channel.version > memory.version and issued < moment(memory.issued):
        raise Refused(
            "rollback",
            f"version {channel.version} was signed at {channel.issued}, before version {memory.version} at "
            f"{memory.issued}",
            hint="check the clock of the publisher's machine, and publish again",
        )
    now = max(clock, issued, moment(memory.issued) if memory.issued else issued)
    if now >= moment(channel.expires):
        raise Refused(
            "freeze",
            f"version {channel.version} of the channel was valid until {channel.expires}, and it is "
            f"{now:%Y-%m-%d %H:%M} UTC",
            hint="edgehone agent renew CHANNEL --key FILE, or correct this device's clock",
        )
    return Memory(
        version=channel.version,
        digest=digest,
        issued=channel.issued,
        release=max(memory.release, channel.release.number),
    )


def _check_order(channel: Channel, digest: str, memory: Memory) -> None:
    if channel.version < memory.version:
        raise Refused(
            "rollback",
            f"the registry gave version {channel.version} of the channel; version {memory.version} was there before",
            hint="the registry, or a proxy before it, returned an old document; check its tag",
        )
    if channel.version == memory.version and digest != memory.digest:
        raise Refused(
            "mixed",
            f"there are two different documents of version {channel.version} of the channel",
            hint="two publishers wrote at once, or someone else has the key; publish again, or revoke the key",
        )
    if channel.release.number < memory.release:
        raise Refused(
            "rollback",
            f"version {channel.version} of the channel names release {channel.release.number}, older than "
            f"{memory.release}",
            hint="publish the older bundle as a new release",
        )
