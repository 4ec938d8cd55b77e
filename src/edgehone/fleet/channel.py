"""The channel: the signed document that tells devices which release to run, and until when that is valid.

It takes the place of TUF's timestamp, snapshot and targets roles: one release is named by the digest of its OCI
manifest, which names every file, so that nothing can be mixed (docs/fleets.md, "Why not TUF's files").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from edgehone.attestation.envelope import check_signature, parse_sealed, seal
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import SigningKey, VerificationKey
from edgehone.attestation.statement import STATEMENT
from edgehone.core import typed_json
from edgehone.core.errors import InputError
from edgehone.core.typed_json import Count
from edgehone.fleet.errors import Refused
from edgehone.registry.names import DIGEST
from edgehone.registry.remote.address import Address, parse

KIND: Final = "application/vnd.edgehone.channel.v1+json"
PREDICATE: Final = "urn:edgehone:channel:v1"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,39}")
_HINT = "publish the channel again: edgehone agent publish CHANNEL BUNDLE --key FILE"
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Release:
    """A bundle that was published. `number` grows with each one; `manifest` is the digest of its OCI manifest.

    `bytes` is the size of its files, `name` is for people.
    """

    number: Count
    manifest: str
    bytes: Count
    name: str
    published: str

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid digest."""
        if not DIGEST.fullmatch(self.manifest):
            raise ValueError(f"{self.manifest!r} is not a digest")


@dataclass(frozen=True, kw_only=True)
class Wave:
    """Devices that get a release together: those with all the `labels`, or a `share` of all, earlier waves included."""

    name: str
    share: Share | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Channel:
    """The content of a channel's document. `channel` is REPOSITORY:TAG; `version` grows with each document.

    The release goes to the first `open` waves, the last of which was opened at `opened`; other devices keep or get
    `before`. `halted` says why no further device takes the release. Times are UTC, ISO 8601.
    """

    schema: Literal[1] = 1
    channel: str
    version: Count
    issued: str
    expires: str
    release: Release
    before: Release | None
    waves: tuple[Wave, ...]
    open: Count
    opened: str
    halted: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if the parts do not fit."""
        for text in (self.issued, self.expires, self.opened):
            moment(text)
        if not self.waves or not 1 <= self.open <= len(self.waves):
            raise ValueError(f"{self.open} of {len(self.waves)} waves cannot be open")
        if self.before is not None and self.before.number >= self.release.number:
            raise ValueError("the release before is not older")


def moment(text: str) -> datetime:
    """Parse a time with a zone. Raises ValueError for other text."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"the time {text!r} has no zone")
    return found.astimezone(UTC)


def written(time: datetime) -> str:
    """Return a time as text."""
    return time.astimezone(UTC).isoformat(timespec="seconds")


def channel_address(text: str) -> Address:
    """Return the address of a channel, oci://HOST/REPOSITORY:CHANNEL. Raises InputError for other text."""
    address = parse(text)
    if not _NAME.fullmatch(address.reference):
        raise InputError(
            f"{text!r} names no channel: {address.reference!r} is not up to 40 letters, digits, - and _",
            hint="oci://HOST/REPOSITORY:stable",
        )
    return address


def name_of(address: Address) -> str:
    """Return the name of a channel, which its documents carry. A mirror on another host has the same."""
    return f"{address.repository}:{address.reference}"


def sign(channel: Channel, key: SigningKey) -> bytes:
    """Return the document, signed."""
    name, digest = channel.channel.partition(":")[0], channel.release.manifest.removeprefix("sha256:")
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}}],
        "predicateType": PREDICATE,
        "predicate": asdict(channel),
    }
    return seal(statement, key)


def read_signed(data: bytes, key: VerificationKey, source: str) -> Channel:
    """Return the channel in a document that `key` accepts. Raises Refused for any other."""
    try:
        sealed = parse_sealed(data, source)
        check_signature(sealed, key)
        return _channel(sealed.statement, source)
    except NotVerified as error:
        raise Refused("signature", error.message, hint=error.hint) from error


def _channel(statement: Mapping[str, Any], source: str) -> Channel:
    if statement.get("predicateType") != PREDICATE:
        raise Refused("mixed", f"{source} is signed, but it is no channel", hint=_HINT)
    try:
        channel = typed_json.read(Channel, statement.get("predicate"), source, hint=_HINT)
    except InputError as error:
        raise Refused("signature", error.message, hint=error.hint) from error
    subjects = statement.get("subject")
    if not isinstance(subjects, list) or [one.get("digest") for one in subjects if isinstance(one, dict)] != [
        {"sha256": channel.release.manifest.removeprefix("sha256:")}
    ]:
        raise Refused("mixed", f"{source} is about another release than it names", hint=_HINT)
    return channel
