"""The publisher's side: push a release, sign the channel, open waves, halt, renew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import SigningKey, VerificationKey
from edgehone.attestation.verify import check_approved, verify_bundle
from edgehone.core.errors import EdgehoneError, InputError
from edgehone.execution.home import file_lock, home
from edgehone.fleet.accept import digest_of_document
from edgehone.fleet.channel import KIND, Channel, Release, Wave, moment, name_of, read_signed, sign, written
from edgehone.fleet.devices import DeviceKeys
from edgehone.fleet.judge import Count, Judgement, counts, judge
from edgehone.fleet.remote import (
    get_document,
    release_tag,
    report_prefix,
    reports_address,
    tags,
)
from edgehone.fleet.report import KIND as REPORT
from edgehone.fleet.report import Told
from edgehone.fleet.report import read_signed as read_report
from edgehone.fleet.rules import ChannelRules, JudgeRules
from edgehone.registry.blobs import disk_error
from edgehone.registry.push import push
from edgehone.registry.remote.address import Address
from edgehone.registry.remote.artifact import put_artifact
from edgehone.registry.remote.client import Client
from edgehone.registry.remote.push import push_to
from edgehone.registry.session import Registry


@dataclass(frozen=True)
class Publisher:
    """Who signs a channel, with the keys that devices accept."""

    address: Address
    key: SigningKey
    rules: ChannelRules

    @property
    def accepted(self) -> VerificationKey:
        """The publisher's own public key."""
        return VerificationKey(public=(self.key.private.public_key(),))


@dataclass(frozen=True)
class View:
    """A channel with the reports about it: `judgements` of open waves. `problems` are reports that were left out."""

    channel: Channel
    counts: list[Count]
    judgements: list[Judgement]
    reports: list[Told]
    problems: list[str]


def publish(
    publisher: Publisher, registry: Registry, bundle: Path, waves: tuple[Wave, ...], *, by: str
) -> Channel:
    """Push a bundle and make it the channel's new release, for its first wave.

    Raises InputError unless the bundle is signed and approved, and for one that is the release already.
    """
    try:
        verified = verify_bundle(bundle)
        check_approved(verified)
    except NotVerified as error:
        raise InputError(error.message, hint=error.hint) from error
    if not verified.is_signed:
        raise InputError(
            f"{bundle} is not signed, so no device would take it", hint="edgehone certify BUNDLE --key FILE"
        )
    with _turn(publisher.address) as memory:
        with Client(publisher.address) as client:
            before = _read(client, publisher, memory)
        number = before.release.number + 1 if before else 1
        version = push(registry, bundle, name=None, by=by).version
        if before is not None and before.release.manifest == version.digest and before.halted is None:
            raise InputError(
                f"{bundle} is release {before.release.number} of {publisher.address} already",
                hint="edgehone agent status CHANNEL",
            )
        tag = replace(publisher.address, reference=release_tag(publisher.address, number))
        push_to(registry, version, _url(tag), by=by)
        now = datetime.now(UTC)
        release = Release(
            number=number,
            manifest=version.digest,
            bytes=version.size,
            name=version.reference,
            published=written(now),
        )
        return _write(
            publisher,
            memory,
            Channel(
                channel=name_of(publisher.address),
                version=before.version if before else 0,
                issued="1970-01-01T00:00:00+00:00",
                expires="1970-01-01T00:00:00+00:00",
                release=release,
                before=_good_before(before),
                waves=waves,
                open=1,
                opened=written(now),
            ),
        )


def _good_before(before: Channel | None) -> Release | None:
    """Return what devices outside of the open waves run: the last release that went to all waves."""
    if before is None:
        return None
    finished = before.open == len(before.waves) and before.halted is None
    return before.release if finished else before.before


def view(address: Address, key: VerificationKey, devices: DeviceKeys | None, rules: JudgeRules) -> View:
    """Return the channel and what its devices tell. `devices`: only reports signed by these are counted."""
    with Client(address) as client:
        data = get_document(client, address.reference, KIND)
    if data is None:
        raise _missing(address)
    channel = read_signed(data, key, str(address))
    reports, problems = read_reports(address, devices)
    found = counts(channel, [one.report for one in reports], rules, datetime.now(UTC))
    judgements = [judge(one, rules, len(channel.waves)) for one in found[: channel.open]]
    return View(channel, found, judgements, reports, problems)


def read_reports(address: Address, devices: DeviceKeys | None) -> tuple[list[Told], list[str]]:
    """Return the reports of all devices, and for each that cannot be used a sentence."""
    found, problems = [], []
    with Client(reports_address(address)) as client:
        prefix = report_prefix(address)
        for tag in tags(client, prefix):
            device = tag.removeprefix(prefix)
            try:
                data = get_document(client, tag, REPORT)
                if data is not None:
                    found.append(read_report(data, devices, name_of(address), device))
            except InputError as error:
                problems.append(f"{device}: {error.message}")
    return found, problems


def advance(publisher: Publisher, devices: DeviceKeys | None, rules: JudgeRules) -> tuple[View, str]:
    """Do what the reports say: open the next wave, halt, renew, or nothing.

    Returns the view before, and what was done.
    """
    with _turn(publisher.address) as memory:
        found = view(publisher.address, publisher.accepted, devices, rules)
        channel = found.channel
        _check_memory(publisher.address, channel, memory)
        done = _advanced(found)
        if done is not None:
            new, text = done
            _write(publisher, memory, new)
            return found, text
        if _is_old(channel, publisher.rules):
            _write(publisher, memory, channel)
            return found, "renewed"
        return found, "nothing"


def _advanced(found: View) -> tuple[Channel, str] | None:
    channel = found.channel
    if channel.halted is not None:
        return None
    for one in found.judgements:
        if one.action == "halt":
            return replace(channel, halted=one.reason), f"halted: {one.reason}"
    if channel.open < len(channel.waves) and all(one.action == "pass" for one in found.judgements):
        name = channel.waves[channel.open].name
        opened = replace(channel, open=channel.open + 1, opened=written(datetime.now(UTC)))
        return opened, f"opened the wave {name}: {found.judgements[-1].reason}"
    return None


def halt(publisher: Publisher, why: str) -> Channel:
    """Halt the release: no further device takes it."""
    with _turn(publisher.address) as memory:
        return _write(publisher, memory, replace(_present(publisher, memory), halted=why))


def renew(publisher: Publisher) -> Channel:
    """Sign the channel anew, as it is, so that it stays valid."""
    with _turn(publisher.address) as memory:
        return _write(publisher, memory, _present(publisher, memory))


def _present(publisher: Publisher, memory: Path) -> Channel:
    with Client(publisher.address) as client:
        channel = _read(client, publisher, memory)
    if channel is None:
        raise _missing(publisher.address)
    return channel


def _is_old(channel: Channel, rules: ChannelRules) -> bool:
    issued, expires = moment(channel.issued), moment(channel.expires)
    return datetime.now(UTC) > expires - (expires - issued) * rules.renew_share


def _write(publisher: Publisher, memory: Path, channel: Channel) -> Channel:
    """Sign a channel as the next version and write it. What this machine remembers is written first."""
    now = datetime.now(UTC)
    new = replace(
        channel,
        version=channel.version + 1,
        issued=written(now),
        expires=written(now + timedelta(days=publisher.rules.expires_days)),
    )
    data = sign(new, publisher.key)
    try:
        staged = memory.with_suffix(".new")
        staged.write_text(json.dumps({"version": new.version, "digest": digest_of_document(data)}), "utf-8")
        staged.replace(memory)
    except OSError as error:
        raise disk_error(error, memory.parent) from error
    with Client(publisher.address) as client:
        put_artifact(client, KIND, data, tag=publisher.address.reference)
    return new


def _read(client: Client, publisher: Publisher, memory: Path) -> Channel | None:
    data = get_document(client, publisher.address.reference, KIND)
    channel = read_signed(data, publisher.accepted, str(publisher.address)) if data else None
    _check_memory(publisher.address, channel, memory)
    return channel


def _check_memory(address: Address, channel: Channel | None, memory: Path) -> None:
    """Raise InputError if the registry has an older document than this machine wrote.

    One version less is no attack: the last write may have been cut off before it reached the registry.
    """
    try:
        written_version = int(json.loads(memory.read_text("utf-8"))["version"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{memory} is damaged: {error}", hint=f"rm {memory}") from error
    version = channel.version if channel else 0
    if version < written_version - 1:
        raise InputError(
            f"{address} has version {version}; this machine wrote version {written_version}",
            hint=f"look who changed the registry; to begin anew: rm {memory}",
        )


@contextmanager
def _turn(address: Address) -> Iterator[Path]:
    """Give what this machine remembers of a channel to one program at a time."""
    folder = home() / "fleets"
    name = hashlib.sha256(f"{address.host}/{name_of(address)}".encode()).hexdigest()[:32]
    with file_lock(folder / f"{name}.lock"):
        yield folder / f"{name}.json"


def _url(address: Address) -> str:
    return f"oci+{address.scheme}://{address.host}/{address.repository}:{address.reference}"


def _missing(address: Address) -> EdgehoneError:
    return InputError(
        f"there is no channel {address}", hint=f"edgehone agent publish {address} BUNDLE --key FILE"
    )
