"""Which documents of a channel a device follows: TUF's attacks, and clocks that jump."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.attestation.keys import VerificationKey, read_signing_key
from edgehone.fleet.accept import Memory, accept, digest_of_document
from edgehone.fleet.channel import Channel, Release, Wave, read_signed, sign, written
from edgehone.fleet.errors import Refused
from tests.attestation.signed import make_key, public

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
NAME = "models/demo:stable"


def release(number: int = 1, content: str = "a") -> Release:
    return Release(
        number=number, manifest=f"sha256:{content * 64}", bytes=10, name="demo:1", published=written(NOW)
    )


def channel(version: int = 1, days: float = 7, issued: datetime = NOW, number: int = 1) -> Channel:
    return Channel(
        channel=NAME,
        version=version,
        issued=written(issued),
        expires=written(issued + timedelta(days=days)),
        release=release(number),
        before=None,
        waves=(Wave(name="all", share=1.0),),
        open=1,
        opened=written(issued),
    )


def remember(one: Channel, memory: Memory | None = None, clock: datetime = NOW) -> Memory:
    return accept(one, f"digest {one.version}", NAME, memory or Memory(), clock)


def refused(one: Channel, memory: Memory, clock: datetime = NOW, digest: str | None = None) -> Refused:
    with pytest.raises(Refused) as found:
        accept(one, digest or f"digest {one.version}", NAME, memory, clock)
    assert found.value.hint and found.value.exit_code == 2
    return found.value


def test_newer_documents_are_followed_and_the_same_again() -> None:
    first = remember(channel(1))
    assert first == Memory(version=1, digest="digest 1", issued=written(NOW), release=1)
    assert remember(channel(1), first) == first
    assert remember(channel(5, number=3), first).version == 5


def test_an_older_document_is_a_rollback() -> None:
    memory = remember(channel(5))
    assert refused(channel(4), memory).attack == "rollback"


def test_an_older_release_in_a_newer_document_is_a_rollback() -> None:
    memory = remember(channel(5, number=3))
    assert refused(channel(6, number=2), memory).attack == "rollback"


def test_a_newer_version_that_was_signed_earlier_is_refused() -> None:
    memory = remember(channel(5))
    assert refused(channel(6, issued=NOW - timedelta(days=1)), memory).attack == "rollback"


def test_two_documents_of_one_version_are_refused() -> None:
    assert refused(channel(5), remember(channel(5)), digest="another").attack == "mixed"


def test_a_document_of_another_channel_is_refused() -> None:
    assert refused(replace(channel(), channel="models/demo:beta"), Memory()).attack == "mixed"
    assert refused(replace(channel(), channel="models/other:stable"), Memory()).attack == "mixed"


def test_an_expired_document_is_a_freeze() -> None:
    memory = remember(channel(1))
    assert refused(channel(1), memory, NOW + timedelta(days=7)).attack == "freeze"
    assert remember(channel(1), memory, NOW + timedelta(days=6.9)) == memory


def test_a_clock_that_is_behind_does_not_bring_expired_documents_back() -> None:
    past = datetime(1970, 1, 1, tzinfo=UTC)
    assert remember(channel(1), clock=past).version == 1
    memory = remember(channel(2, issued=NOW + timedelta(days=30)), clock=past)
    old = channel(3, days=7, issued=NOW + timedelta(days=30), number=1)
    assert remember(old, memory, past).version == 3
    late = replace(channel(4), issued=memory.issued or "", expires=written(NOW + timedelta(days=1)))
    assert refused(late, memory, past).attack == "freeze"


def test_a_clock_that_jumps_ahead_stops_updates_only_until_it_is_right_again() -> None:
    memory = remember(channel(1))
    ahead = datetime(2100, 1, 1, tzinfo=UTC)
    assert refused(channel(2), memory, ahead).attack == "freeze"
    assert remember(channel(2), memory, NOW + timedelta(hours=1)).version == 2


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 5), st.integers(-10, 10)), max_size=30))
def test_nothing_ever_goes_back(documents: list[tuple[int, int, int]]) -> None:
    memory = Memory()
    for version, number, days in documents:
        one = channel(version, issued=NOW + timedelta(days=days), number=number)
        before = memory
        try:
            memory = accept(one, digest_of_document(repr(one).encode()), NAME, memory, NOW)
        except Refused:
            continue
        assert memory.version >= before.version and memory.release >= before.release
        assert before.issued is None or (memory.issued or "") >= before.issued or version == before.version
        if version == before.version:
            assert memory.digest == before.digest


def test_only_the_signers_documents_are_read(tmp_path: Path) -> None:
    key, other = make_key(tmp_path), make_key(tmp_path, "other")
    data = sign(channel(), read_signing_key(key))
    assert read_signed(data, public(key), "the channel") == channel()
    for wrong in (data[:-10], data.replace(b'"payload":"e', b'"payload":"f'), b"", b"{}"):
        with pytest.raises(Refused) as found:
            read_signed(wrong, public(key), "the channel")
        assert found.value.attack == "signature"
    with pytest.raises(Refused):
        read_signed(data, public(other), "the channel")


@given(st.data())
def test_no_changed_byte_is_accepted(data: st.DataObject) -> None:
    signed, key = _signed()
    at = data.draw(st.integers(0, len(signed) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != signed[at]))
    changed = signed[:at] + bytes([byte]) + signed[at + 1 :]
    with pytest.raises(Refused):
        read_signed(changed, key, "the channel")


_KEPT: list[tuple[bytes, VerificationKey]] = []


def _signed() -> tuple[bytes, VerificationKey]:
    """Return a signed document and its key, made once."""
    if not _KEPT:
        with tempfile.TemporaryDirectory() as folder:
            key = make_key(Path(folder))
            _KEPT.append((sign(channel(), read_signing_key(key)), public(key)))
    return _KEPT[0]


def test_another_signed_document_is_no_channel(tmp_path: Path) -> None:
    from edgehone.attestation.envelope import seal

    key = make_key(tmp_path)
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": "other"}
    with pytest.raises(Refused) as found:
        read_signed(seal(statement, read_signing_key(key)), public(key), "the channel")
    assert found.value.attack == "mixed"
