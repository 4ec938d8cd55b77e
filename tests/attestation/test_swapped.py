"""Statements and envelopes in each other's places, of other bundles, or with more than one signature; odd names."""

from __future__ import annotations

import base64
import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgehone.attestation.envelope import seal
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.files import read_files
from edgehone.attestation.keys import VerificationKey, read_signing_key
from edgehone.attestation.statement import signature_statement
from edgehone.attestation.verify import verify_bundle
from edgehone.attestation.write import certify_bundle
from edgehone.cli.main import main
from edgehone.core.errors import SetupError
from tests.attestation.signed import EVIDENCE, certificate_of, certified, make_key, public
from tests.finished import Finished, list_again

SIGNATURE, VERDICTS, CERTIFICATE = (
    "signature.sigstore.json",
    "verdicts.sigstore.json",
    "certificate.json",
)


class Place:
    """A bundle and another one, signed with the same key, and the key of somebody else."""

    def __init__(self, finished: Path, folder: Path) -> None:
        self.key, self.foreign = make_key(folder), make_key(folder, "foreign")
        self.bundle = certified(Path(shutil.copytree(finished, folder / "first" / "bundle")), self.key)
        self.other = Path(shutil.copytree(finished, folder / "second" / "bundle"))
        (self.other / "artifact" / "weights.bin").write_bytes(b"another")
        list_again(self.other)
        certified(self.other, self.key)

    @property
    def accepted(self) -> VerificationKey:
        return public(self.key)

    def sign_again(self) -> None:
        """Sign the files as they are, as the signer could."""
        digests = {name: one for name, one in read_files(self.bundle).digests.items() if name != SIGNATURE}
        self.seal(SIGNATURE, signature_statement("bundle", digests))

    def seal(self, name: str, statement: Any) -> None:
        (self.bundle / name).write_bytes(seal(statement, read_signing_key(self.key)))


@pytest.fixture
def place(_finished: Finished, tmp_path: Path) -> Place:
    """Two signed bundles."""
    return Place(_finished.bundle, tmp_path)


def refused(place: Place, what: str) -> None:
    for key in (place.accepted, None):
        with pytest.raises(NotVerified, match=what) as caught:
            verify_bundle(place.bundle, key)
        assert caught.value.hint


def envelope(path: Path) -> Any:
    return json.loads(path.read_text())


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")))


@pytest.mark.parametrize("name", [SIGNATURE, VERDICTS])
@pytest.mark.parametrize("order", ["own first", "foreign first", "twice", "none"])
def test_an_envelope_has_one_signature(place: Place, name: str, order: str) -> None:
    path = place.bundle / name
    content = envelope(path)
    (own,) = content["dsseEnvelope"]["signatures"]
    payload = json.loads(base64.b64decode(content["dsseEnvelope"]["payload"]))
    (foreign,) = json.loads(seal(payload, read_signing_key(place.foreign)))["dsseEnvelope"]["signatures"]
    lists = {"own first": [own, foreign], "foreign first": [foreign, own], "twice": [own, own], "none": []}
    content["dsseEnvelope"]["signatures"] = lists[order]
    write(path, content)
    refused(place, "was changed" if name == VERDICTS else "is not a signature as")
    if name == VERDICTS:  # even if whoever signs it all covers it
        place.sign_again()
        refused(place, "is not a signature as")


def test_statements_in_each_others_places(place: Place) -> None:
    signature, verdicts = (place.bundle / name for name in (SIGNATURE, VERDICTS))
    kept = signature.read_bytes()
    signature.write_bytes(verdicts.read_bytes())
    refused(place, "predicate|statement|another type|is of")
    signature.write_bytes(kept)
    verdicts.write_bytes(kept)
    place.sign_again()
    refused(place, "predicate|statement|another type|is of")


@pytest.mark.parametrize("name", [SIGNATURE, VERDICTS, CERTIFICATE])
def test_a_document_of_another_bundle_of_the_same_signer(place: Place, name: str) -> None:
    shutil.copy(place.other / name, place.bundle / name)
    refused(place, "was changed")
    if name != SIGNATURE:
        place.sign_again()
        refused(place, "about|names|another|differ")


def test_a_statement_edited_by_hand_and_signed_again(place: Place) -> None:
    """The verdicts must be those of the decision, whoever signs them."""
    path = place.bundle / VERDICTS
    statement = json.loads(base64.b64decode(envelope(path)["dsseEnvelope"]["payload"]))
    assert statement["predicate"]["verdicts"]
    changes: list[Callable[[Any], object]] = [
        lambda data: data["predicate"]["verdicts"].pop(),
        lambda data: data["predicate"]["verdicts"][0].update(ok=None),
        lambda data: data["predicate"].update(approved=not data["predicate"].get("approved")),
        lambda data: data["subject"].pop(),
        lambda data: data["subject"][0]["digest"].update(sha256="0" * 64),
        lambda data: data.update(predicateType="urn:edgehone:certificate:v1"),
        lambda data: data.update(_type="https://in-toto.io/Statement/v0.1"),
    ]
    for change in changes:
        edited = json.loads(json.dumps(statement))
        change(edited)
        place.seal(VERDICTS, edited)
        place.sign_again()
        with pytest.raises(NotVerified):
            verify_bundle(place.bundle, place.accepted)
            pytest.fail(json.dumps(edited)[:2000])


def test_an_approval_written_in_by_hand(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    certified(place.bundle, place.key, approval="no", conditions=("accuracy failed",))
    path = place.bundle / CERTIFICATE
    path.write_text(path.read_text().replace('"approval": "no"', '"approval": "yes"'))
    assert main(["verify", str(place.bundle), "--key", str(place.key.with_suffix(".pub")), "--approved"]) == 1
    assert "certificate.json was changed" in capsys.readouterr().err


def test_huge_documents_are_not_read(place: Place) -> None:
    """A sparse file of 1 TB costs nobody anything to make, and hashing it would take a quarter of an hour."""
    for name in (SIGNATURE, VERDICTS, CERTIFICATE, "decision.json", "bom.cdx.json"):
        path = place.bundle / name
        size = path.stat().st_size
        os.truncate(path, 1 << 40)
        refused(place, f"{name} is larger than (256|67) MB")
        os.truncate(path, size)
    assert verify_bundle(place.bundle, place.accepted).signed_by


def test_names_that_look_alike_are_others(place: Place) -> None:
    """é is one character or two, and some file systems take one for the other."""
    composed = place.bundle / "artifact" / unicodedata.normalize("NFC", "modèle.bin")
    composed.write_bytes(b"weights")
    for name in (SIGNATURE, VERDICTS, CERTIFICATE, "certificate.html", "bom.cdx.json"):
        (place.bundle / name).unlink()
    shutil.rmtree(place.bundle / "certification")
    list_again(place.bundle)
    certified(place.bundle, place.key)
    assert verify_bundle(place.bundle, place.accepted).signed_by
    composed.rename(composed.with_name(unicodedata.normalize("NFD", composed.name)))
    refused(place, "is missing.*was added")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.mknod(path, 0o020600, os.makedev(1, 5))])
@pytest.mark.parametrize("name", ["manifest.json", SIGNATURE, CERTIFICATE, "artifact/more"])
def test_what_is_no_file_does_not_block(place: Place, make: Callable[[Path], None], name: str) -> None:
    path = place.bundle / name
    path.unlink(missing_ok=True)
    try:
        make(path)
    except PermissionError:
        pytest.skip("only root makes devices")
    for words in (["verify"], ["verify", "--key", str(place.key.with_suffix(".pub"))], ["show"]):
        assert main([words[0], str(place.bundle), *words[1:]]) in (1, 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_read_only_place_is_told(place: Place) -> None:
    import subprocess

    folder = place.bundle.parent
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        with pytest.raises(SetupError, match="cannot be written") as caught:
            certify_bundle(place.bundle, certificate_of(place.bundle), EVIDENCE, None)
        assert caught.value.hint
        assert verify_bundle(place.bundle, place.accepted).signed_by
    finally:
        subprocess.run(["umount", str(folder)], check=True)
