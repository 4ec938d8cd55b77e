"""What a registry, or someone on the way to it, may send: nothing but the channel's release is ever installed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgehone.attestation.keys import read_signing_key
from edgehone.fleet import publish as publishing
from edgehone.fleet.channel import KIND, Channel, read_signed, sign, written
from edgehone.fleet.install import make_folders
from edgehone.fleet.look import Look, Looker
from edgehone.fleet.publish import Publisher
from edgehone.fleet.remote import get_document
from edgehone.fleet.settings import AgentSettings, read_settings
from edgehone.fleet.state import State, Store
from edgehone.registry.remote.artifact import put_artifact
from edgehone.registry.remote.client import Client
from edgehone.registry.remote.limits import shipped
from tests.attestation.signed import certified, make_key, public
from tests.disks import small_file_system
from tests.finished import Finished
from tests.fleet.fleets import Fleet
from tests.fleet.test_killed import active_is_good, settle
from tests.registry.bundles import maker, weights
from tests.registry.fake import Fake, fake_registry

SIZE = 1_500_000


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A registry that misbehaves on request."""
    with fake_registry() as server:
        server.with_referrers = False
        yield server


@pytest.fixture
def followed(finished: Finished, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A fleet at that registry. Failures are not waited for."""
    quick = replace(shipped(), attempts=2, first_pause=0.01, idle=1.0, answer=5.0)
    monkeypatch.setattr("edgehone.registry.remote.client.shipped", lambda: quick)
    monkeypatch.setattr("edgehone.fleet.remote.tags", lambda client, prefix: [])
    return Fleet(fake.host, tmp_path / "fleet", maker(finished.bundle, tmp_path))


@pytest.fixture
def settings(followed: Fleet) -> AgentSettings:
    """A device that runs release 1; release 2 is published."""
    found = read_settings(followed.device("d1"))
    followed.publish(followed.bundle(weights(1, SIZE)))
    assert look(found).kind == "ready"
    settle(found)
    followed.publish(followed.bundle(weights(2, SIZE)))
    return found


def look(settings: AgentSettings, clock: datetime | None = None) -> Look:
    place = make_folders(settings.folder)
    store = Store(settings.folder, settings.channel)
    return Looker(settings, place, store, lambda text: None, (lambda: clock) if clock else None).look()


def state(settings: AgentSettings) -> State:
    return Store(settings.folder, settings.channel).state


def kept(settings: AgentSettings, fleet: Fleet) -> None:
    """The device still runs release 1, whole."""
    running = state(settings).running
    assert running is not None and running.number == 1
    active_is_good(settings, fleet, running.manifest)


def document(publisher: Publisher) -> bytes:
    with Client(publisher.address) as client:
        data = get_document(client, publisher.address.reference, KIND)
    assert data is not None
    return data


def put(publisher: Publisher, data: bytes) -> None:
    with Client(publisher.address) as client:
        put_artifact(client, KIND, data, tag=publisher.address.reference)


def test_a_replayed_channel_is_refused(followed: Fleet, settings: AgentSettings) -> None:
    old = document(followed.publisher)
    publishing.renew(followed.publisher)
    new = document(followed.publisher)
    assert look(settings).kind == "ready"
    put(followed.publisher, old)
    found = look(settings)
    assert found.kind == "waits" and "rollback" in found.note
    kept(settings, followed)
    put(followed.publisher, new)
    assert look(settings).kind == "ready"


def test_an_expired_channel_is_not_followed_whatever_the_clock_did_before(
    followed: Fleet, settings: AgentSettings
) -> None:
    later = datetime.now(UTC) + timedelta(days=8)
    assert "freeze" in look(settings, later).note
    kept(settings, followed)
    assert look(settings, datetime(1970, 1, 1, tzinfo=UTC)).kind == "ready"


def test_a_channel_signed_by_another_key_is_refused(followed: Fleet, settings: AgentSettings) -> None:
    other = read_signing_key(make_key(followed.place, "other"))
    channel = read_signed(document(followed.publisher), public(followed.channel_key), "x")
    put(followed.publisher, sign(replace(channel, version=9), other))
    assert "signature" in look(settings).note
    kept(settings, followed)


def test_the_channels_key_alone_cannot_bring_a_bundle(followed: Fleet, settings: AgentSettings) -> None:
    stranger = make_key(followed.place, "stranger")
    bundle = certified(followed.make(weights(5, SIZE)), stranger)
    followed.publish(bundle)
    found = look(settings)
    assert found.kind == "waits" and "another key" in found.note
    assert state(settings).outcomes[-1].result == "failed" and "b" not in state(settings).slots
    kept(settings, followed)


@pytest.mark.parametrize(
    ("change", "attack"),
    [
        (lambda one: replace(one, channel=one.channel.replace(":stable", ":beta")), "mixed"),
        (lambda one: replace(one, version=1), "rollback"),
        (
            lambda one: replace(one, release=replace(one.release, number=1), version=9, before=None),
            "rollback",
        ),
        (lambda one: replace(one, version=9, expires=written(datetime(2020, 1, 1, tzinfo=UTC))), "freeze"),
    ],
)
def test_signed_documents_that_must_not_be_followed(
    followed: Fleet, settings: AgentSettings, change: Callable[[Channel], Channel], attack: str
) -> None:
    assert look(settings).kind == "ready"
    channel = read_signed(document(followed.publisher), public(followed.channel_key), "x")
    put(followed.publisher, sign(change(channel), followed.publisher.key))
    assert attack in look(settings).note
    kept(settings, followed)


def test_a_release_of_another_size_than_signed_is_refused(followed: Fleet, settings: AgentSettings) -> None:
    channel = read_signed(document(followed.publisher), public(followed.channel_key), "x")
    wrong = replace(channel, version=9, release=replace(channel.release, bytes=7))
    put(followed.publisher, sign(wrong, followed.publisher.key))
    assert "bytes; the channel says 7" in look(settings).note
    kept(settings, followed)


def test_truncated_downloads_go_on_where_they_were(
    followed: Fleet, settings: AgentSettings, fake: Fake
) -> None:
    asked: list[str] = []

    def cut(handler: Any, kind: str) -> bool:
        if kind != "blob" or handler.command != "GET":
            return False
        data = fake.blobs.get(handler.path.rpartition("/")[2])
        if data is None or len(data) < SIZE:
            return False
        asked.append(handler.headers.get("Range", "whole"))
        start = int(asked[-1].removeprefix("bytes=").partition("-")[0]) if asked[-1] != "whole" else 0
        part = data[start : start + 400_000]
        status = 206 if start else 200
        handler.send_response(status)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(part)
        handler.wfile.flush()
        handler.close_connection = True
        return True

    fake.misbehave = cut
    assert look(settings).kind == "ready"
    assert len(asked) >= 4 and all(one != "whole" for one in asked[1:])
    kept(settings, followed)


@pytest.mark.parametrize("what", ["blob", "manifest"])
def test_tampered_downloads_are_never_installed(
    followed: Fleet, settings: AgentSettings, fake: Fake, what: str
) -> None:
    def flip(handler: Any, kind: str) -> bool:
        name = handler.path.rpartition("/")[2]
        data = (fake.blobs if kind == "blob" else fake.manifests).get(name)
        if kind != what or handler.command != "GET" or data is None or not name.startswith("sha256:"):
            return False
        if json.loads(data)["layers"] if kind == "manifest" else len(data) >= SIZE:
            handler.answer(200, data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
            return True
        return False

    fake.misbehave = flip
    found = look(settings)
    assert found.kind == "waits" and found.trouble and "not" in found.note
    assert all(one.result != "failed" for one in state(settings).outcomes)  # nothing against the release
    kept(settings, followed)
    fake.misbehave = lambda handler, kind: False
    assert look(settings).kind == "ready"


def test_garbage_for_a_channel(followed: Fleet, settings: AgentSettings, fake: Fake) -> None:
    for answer in (b"", b"{}", b"\xff" * 100, b'{"layers": [1]}', b"[" * 5000):

        def garbage(handler: Any, kind: str, answer: bytes = answer) -> bool:
            if kind == "manifest":
                handler.answer(200, answer)
            return kind == "manifest"

        fake.misbehave = garbage
        assert look(settings).kind == "waits"
        kept(settings, followed)


def test_a_metered_connection_is_respected(followed: Fleet, settings: AgentSettings) -> None:
    file = followed.place / "d1" / "agent.toml"
    text = file.read_text("utf-8")
    file.write_text(f'metered = "yes"\nmetered_bytes = 1000\n{text}')
    found = look(read_settings(file))
    assert found.kind == "waits" and "metered" in found.note and not found.trouble
    file.write_text(f'metered = "yes"\nmetered_bytes = 9000000\n{text}')
    assert look(read_settings(file)).kind == "ready"


def test_a_bundle_that_does_not_fit_is_not_started(
    followed: Fleet, settings: AgentSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgehone.fleet.install.misfits", lambda *_, **__: ["it needs a gpu"])
    assert "does not fit" in look(settings).note
    assert state(settings).outcomes[-1].result == "unable"
    kept(settings, followed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    with small_file_system(tmp_path / "disk", "16m") as place:
        yield place


@pytest.mark.parametrize("reserve", [100_000, 1])
def test_a_full_disk(followed: Fleet, small_disk: Path, reserve: int) -> None:
    """At any level of the disk the running release stays whole, and the update goes on when there is room."""
    file = followed.device("d2", folder=str(small_disk / "data"), reserve_bytes=reserve)
    found = read_settings(file)
    followed.publish(followed.bundle(weights(1, SIZE)))
    assert look(found).kind == "ready"
    settle(found)
    followed.publish(followed.bundle(weights(2, SIZE)))
    told = 0
    for free in (0, 4096, 20_000, 400_000, 1_600_000, 2_200_000, 3_500_000, 5_000_000):
        _fill(small_disk, free)
        result = look(found)
        (small_disk / "filler").unlink()
        running = state(found).running
        assert running is not None and running.number == 1
        active_is_good(found, followed, running.manifest)
        if result.kind == "ready":
            break
        told += "no space left" in result.note
    assert told >= 2
    assert look(found).kind == "ready"


def _fill(disk: Path, free: int) -> None:
    status = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        file.write(b"\1" * max(status.f_bavail * status.f_frsize - free, 0))


def test_a_damaged_state_is_told_and_nothing_is_lost(followed: Fleet, settings: AgentSettings) -> None:
    from edgehone.core.errors import InputError

    path = settings.folder / "state.json"
    whole = path.read_bytes()
    for damage in (whole[:50], b"", b"[]", whole.replace(b'"a"', b'"c"')):
        path.write_bytes(damage)
        with pytest.raises(InputError) as found:
            state(settings)
        assert found.value.hint and str(path) in found.value.message
    path.write_bytes(whole)
    kept(settings, followed)


def test_damaged_blobs_are_fetched_again(followed: Fleet, settings: AgentSettings) -> None:
    assert look(settings).kind == "ready"
    settle(settings)
    for path in (settings.folder / "blobs" / "chunks").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    shutil.rmtree(settings.folder / "slots" / "a")
    followed.publish(followed.bundle(weights(2, SIZE) + b"more"))
    results = [look(settings).kind for _ in range(3)]
    assert results[-1] == "ready"
