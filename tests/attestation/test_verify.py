"""Certified bundles are verified, and model-signing's own command line accepts their signature."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import edgehone
from edgehone.attestation.envelope import check_signature, read_sealed
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import read_verification_key
from edgehone.attestation.statement import artifact_digest, signed_digests
from edgehone.attestation.verify import verify_bundle
from tests.attestation.signed import certificate_of, certified, make_key, public

SIGNATURES = Path(__file__).parent / "signatures"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key, with the public one beside it."""
    return make_key(tmp_path)


def test_a_signed_bundle_is_verified(spoiled: Path, key: Path) -> None:
    certificate = certificate_of(spoiled)
    certified(spoiled, key)
    found = verify_bundle(spoiled, public(key))
    assert found.certificate == certificate and found.is_signed
    assert found.signed_by is not None and found.signed_by.startswith("key SHA256:")
    assert edgehone.verify(edgehone.read(spoiled)) == []
    without_key = verify_bundle(spoiled)
    assert without_key.signed_by is None and without_key.is_signed and without_key.digest == found.digest


def test_an_unsigned_bundle_says_so(spoiled: Path, key: Path) -> None:
    assert not verify_bundle(spoiled).is_signed
    certified(spoiled, None)
    found = verify_bundle(spoiled)
    assert not found.is_signed and found.certificate is not None
    with pytest.raises(NotVerified, match="it is not signed"):
        verify_bundle(spoiled, public(key))


def test_model_signing_accepts_the_signature(spoiled: Path, key: Path) -> None:
    certified(spoiled, key)
    words = [
        *(sys.executable, "-m", "model_signing", "verify", "key", str(spoiled), "--no-ignore-git-paths"),
        *(
            "--signature",
            str(spoiled / "signature.sigstore.json"),
            "--public_key",
            str(key.with_suffix(".pub")),
        ),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (spoiled / "decision.json").write_bytes(b"{}")
    assert subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 1


def test_another_key_is_refused(spoiled: Path, key: Path, tmp_path: Path) -> None:
    certified(spoiled, key)
    with pytest.raises(NotVerified, match="another key"):
        verify_bundle(spoiled, public(make_key(tmp_path, "other")))


def test_the_digest_of_a_bundle_and_of_its_artifact_tell_names() -> None:
    digests = {"artifact/a": "0" * 64, "artifact/b": "1" * 64}
    renamed = {"artifact/a": "0" * 64, "artifact/c": "1" * 64}
    assert artifact_digest(digests) != artifact_digest(renamed)


@pytest.mark.parametrize("path", sorted(SIGNATURES.glob("*.sigstore.json")), ids=lambda path: path.name)
def test_signatures_of_past_releases_stay_valid(path: Path) -> None:
    """Both are about two files: a with "hi", and d/b with "x"."""
    sealed = read_sealed(path)
    assert check_signature(sealed, read_verification_key([SIGNATURES / "signing.pub"]))
    contents = {"a": b"hi\n", "d/b": b"x\n"}
    assert signed_digests(sealed.statement) == {
        name: hashlib.sha256(content).hexdigest() for name, content in contents.items()
    }
