"""The report of a device: a signed document under a tag of its own, replaced by each new report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from edgehone.attestation.envelope import parse_sealed, seal
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import SigningKey
from edgehone.attestation.statement import STATEMENT
from edgehone.core import typed_json
from edgehone.core.errors import InputError
from edgehone.core.typed_json import OPTIONAL, Count
from edgehone.fleet.channel import moment
from edgehone.fleet.devices import DeviceKeys

KIND: Final = "application/vnd.edgehone.report.v1+json"
PREDICATE: Final = "urn:edgehone:report:v1"
Result = Literal["started", "good", "failed", "unable"]
_HINT = "the device writes it again when it asks for the channel the next time"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a release on a device. `at` is by the device's clock.

    "started": not finished yet. "failed" counts against the release; "unable" (no room, does not fit) does not.
    """

    release: Count
    manifest: str
    result: Result
    reason: str
    at: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """The state of a device. `runs` is the number of the release that answers requests, None if none does.

    `note` says what it waits for, or which document it refused. `fleet_key` is the device's public key, as SHA-256.
    """

    schema: Literal[1] = 1
    channel: str
    device: str
    labels: Mapping[str, str]
    version: Count
    runs: int | None
    manifest: str | None
    outcomes: tuple[Outcome, ...]
    note: str
    at: str
    edgehone: str = field(default="", metadata=OPTIONAL)

    def __post_init__(self) -> None:
        """Raise ValueError for invalid times."""
        for text in (self.at, *(one.at for one in self.outcomes)):
            moment(text)

    def outcome(self, manifest: str) -> Outcome | None:
        """Return the last outcome of a release."""
        return next((one for one in reversed(self.outcomes) if one.manifest == manifest), None)


@dataclass(frozen=True)
class Told:
    """A report and its signer; None if the signature was not checked."""

    report: Report
    signed_by: str | None


def sign(report: Report, key: SigningKey) -> bytes:
    """Return the report, signed by the device."""
    digest = (report.manifest or "sha256:" + "0" * 64).removeprefix("sha256:")
    return seal(
        {
            "_type": STATEMENT,
            "subject": [{"name": report.device, "digest": {"sha256": digest}}],
            "predicateType": PREDICATE,
            "predicate": asdict(report),
        },
        key,
    )


def read_signed(data: bytes, devices: DeviceKeys | None, channel: str, device: str) -> Told:
    """Return the report of a device. With `devices`, this device must have signed it.

    Raises InputError for a document that is not the report of this device and channel.
    """
    source = f"the report of {device}"
    try:
        sealed = parse_sealed(data, source)
        signed_by = devices.check(sealed, device) if devices else None
        statement: Mapping[str, Any] = sealed.statement
    except NotVerified as error:
        raise InputError(error.message, hint=error.hint) from error
    if statement.get("predicateType") != PREDICATE:
        raise InputError(f"{source} is another document", hint=_HINT)
    report = typed_json.read(Report, statement.get("predicate"), source, hint=_HINT)
    if (report.channel, report.device) != (channel, device):
        raise InputError(f"{source} is of {report.device}, channel {report.channel}", hint=_HINT)
    return Told(report, signed_by)
