"""edgehone verify: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgehone.cli.main import main
from tests.attestation.signed import certified, make_key


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key, with the public one beside it."""
    return make_key(tmp_path)


def verify(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> str:
    assert main(["verify", *map(str, words)]) == code
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    if code and "--json" not in words:
        assert "error:" in told.err and "next:" in told.err
    return told.out + told.err


def test_a_signed_bundle(spoiled: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certified(spoiled, key)
    pub = key.with_suffix(".pub")
    told = verify(capsys, 0, spoiled, "--key", pub, "--approved")
    assert "signed by    key SHA256:" in told and "approved for production" in told and "warning" not in told
    assert "who signed the bundle was not checked" in verify(capsys, 0, spoiled)
    facts = json.loads(verify(capsys, 0, spoiled, "--key", pub, "--json"))
    assert facts["verified"] and facts["approval"] == "yes" and facts["signed_by"].startswith("key SHA256:")
    assert len(facts["digest"]) == len(facts["certificate"]) == 64


def test_an_unsigned_bundle(spoiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = verify(capsys, 0, spoiled)
    assert "is not signed" in told and "has no certificate" in told
    assert json.loads(verify(capsys, 0, spoiled, "--json"))["signed"] is False
    assert "has no certificate" in verify(capsys, 1, spoiled, "--approved")
    certified(spoiled, None, "conditional", ("128 MB are free",))
    assert "warning: approved on the condition: 128 MB are free" in verify(capsys, 0, spoiled, "--approved")
    certified(spoiled, None, "no", ("too slow",))
    assert "not approved for production: too slow" in verify(capsys, 1, spoiled, "--approved")


def test_a_changed_bundle_is_refused(spoiled: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certified(spoiled, key)
    (spoiled / "artifact" / "more\x1b[2J.bin").write_bytes(b"")
    for words in ((), ("--key", key.with_suffix(".pub"))):
        assert r"artifact/more\x1b[2J.bin' was added" in verify(capsys, 1, spoiled, *words)
    told = json.loads(verify(capsys, 1, spoiled, "--json"))
    assert told["exit_code"] == 1 and "was added" in told["error"]


def test_what_cannot_be_used(
    spoiled: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pub = key.with_suffix(".pub")
    assert "no such bundle" in verify(capsys, 2, tmp_path / "none")
    assert "is not a bundle" in verify(capsys, 2, tmp_path)
    assert "cannot be read" in verify(capsys, 2, spoiled, "--key", tmp_path / "none.pub")
    assert "need a key" in verify(capsys, 2, spoiled, "--revoked", pub)
    assert "need a key" in verify(capsys, 2, spoiled, "--at", "2026-01-01")
    assert "--at is 'yesterday'" in verify(capsys, 2, spoiled, "--key", pub, "--at", "yesterday")
