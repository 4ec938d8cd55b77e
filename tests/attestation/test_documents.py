"""The documents of a certified bundle, read by tools that nobody here wrote."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from securesystemslib.dsse import Envelope
from securesystemslib.signer._key import SSlibKey

import edgehone
from edgehone.attestation import statement
from edgehone.attestation.certificate import Certificate, CheckResult, Outcome
from edgehone.attestation.envelope import seal
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.files import read_files
from edgehone.attestation.keys import read_signing_key
from edgehone.attestation.verify import verify_bundle
from edgehone.attestation.write import certify_bundle, subject_of
from edgehone.bundle.schema import text_of
from edgehone.core.errors import InputError, SetupError
from edgehone.core.figure import Figure
from tests.attestation.signed import EVIDENCE, certificate_of, certified, make_key, public
from tests.report.browser import CHROMIUM, Browser


@pytest.fixture
def bundle(spoiled: Path, tmp_path: Path) -> Path:
    """A signed bundle, with the key signing.key beside it."""
    return certified(spoiled, make_key(tmp_path))


def load(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def test_in_toto_reads_the_certificate_and_our_schema_describes_it(bundle: Path) -> None:
    written = load(bundle / "certificate.json")
    read = json_format.ParseDict(written, statement_pb2.Statement())
    named = {one.name: one.digest["sha256"] for one in read.subject}
    found = read_files(bundle).digests
    later = {"certificate.json", "certificate.html", "verdicts.sigstore.json", "signature.sigstore.json"}
    assert named == {name: digest for name, digest in found.items() if name not in later}
    assert read.predicate_type == "urn:edgehone:certificate:v1"
    validator = jsonschema.Draft202012Validator(statement.schema())
    validator.check_schema(statement.schema())
    validator.validate(written)
    spoil: dict[str, Any]
    for spoil in ({"subject": []}, {"predicate": {}}, {"_type": "x"}, {"more": 1}):
        broken = {**written, **spoil}
        assert validator.is_valid(broken) == (spoil == {"subject": []})


def test_securesystemslib_verifies_the_signed_verdicts(bundle: Path, tmp_path: Path) -> None:
    envelope = load(bundle / "verdicts.sigstore.json")["dsseEnvelope"]
    pem = (tmp_path / "signing.pub").read_text()
    key = SSlibKey("", "ecdsa", "ecdsa-sha2-nistp256", {"public": pem})
    for one in envelope["signatures"]:
        one["keyid"] = key.keyid
    opened = Envelope.from_dict(envelope)
    assert opened.verify([key], 1)
    read = json_format.Parse(opened.payload, statement_pb2.Statement())
    subjects = [
        (one["name"], one["digest"]["sha256"]) for one in load(bundle / "certificate.json")["subject"]
    ]
    assert [(one.name, one.digest["sha256"]) for one in read.subject] == subjects
    decision = edgehone.read(bundle).decision
    told = json_format.MessageToDict(read.predicate)["verdicts"]
    assert [one["low"] for one in told] == [
        one.low for one in decision.candidate(decision.chosen or "").verdicts
    ]
    assert told and all({"gate", "low", "high", "threshold", "ok"} <= set(one) for one in told)


def problems_of_bom(path: Path) -> Any:
    return JsonStrictValidator(SchemaVersion.V1_7).validate_str(path.read_text("utf-8"))


def test_cyclonedx_accepts_the_bill_of_materials(bundle: Path) -> None:
    assert problems_of_bom(bundle / "bom.cdx.json") is None
    bom = load(bundle / "bom.cdx.json")
    model = bom["metadata"]["component"]
    digests = read_files(bundle).digests
    assert {one["name"]: one["hashes"][0]["content"] for one in model["components"]} == {
        name: digest for name, digest in digests.items() if name.startswith(("artifact/", "tokenizer/"))
    }
    metrics = {one["type"]: one for one in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]}
    assert "confidenceInterval" in metrics["next_token_accuracy (share)"]
    claims = {one["predicate"] for one in bom["declarations"]["claims"]}
    assert claims == {"latency p95 holds"}  # a skipped check claims nothing
    references = set(_values(bom, "bom-ref"))
    assert len(references) == len(list(_values(bom, "bom-ref")))
    for key in ("ref", "requirement", "target", "assessor"):
        assert references >= {one for one in _values(bom, key) if isinstance(one, str)}


def _values(data: Any, key: str) -> Iterator[Any]:
    """Yield the values of a key, at any depth."""
    inside = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    if isinstance(data, dict) and key in data:
        yield data[key]
    for one in inside:
        yield from _values(one, key)


@pytest.mark.parametrize("licence", ["apache-2.0", "llama3 community", None])
def test_licences_of_all_kinds_are_written_so_that_cyclonedx_takes_them(
    spoiled: Path, licence: str | None
) -> None:
    manifest = edgehone.read(spoiled).manifest
    changed = replace(manifest, model={**manifest.model, "licence": licence})
    (spoiled / "manifest.json").write_text(text_of(changed.to_json()))
    certified(spoiled, None)
    assert problems_of_bom(spoiled / "bom.cdx.json") is None
    original = load(spoiled / "bom.cdx.json")["components"][0]
    expected = {
        "apache-2.0": [{"license": {"id": "Apache-2.0"}}],
        "llama3 community": [{"license": {"name": "llama3 community"}}],
    }
    assert original.get("licenses") == expected.get(str(licence))


def of_all_kinds(bundle: Path) -> Certificate:
    """Return a certificate with checks of every outcome, and text that is none of HTML's business."""
    outcomes: tuple[Outcome, ...] = ("passed", "failed", "undecided", "skipped")
    checks = [
        CheckResult(
            name=f"check {outcome} <script>alert(1)</script>",
            category="security",
            outcome=outcome,
            reason="<img src=x onerror=alert(1)>",
            figure=figure,
        )
        for outcome, figure in zip(
            outcomes,
            (
                Figure(3.0, 1.0, 5.0, 9),
                Figure(1e9, unit="bytes"),
                Figure(0.5, 0.4, 0.6, 3, "share"),
                Figure.missing("why"),
            ),
            strict=True,
        )
    ]
    certificate = certificate_of(bundle, "conditional", ("<b>more memory</b>",))
    monitoring = {
        "baselines": {
            "ttft_ms": Figure(4.2, 4.1, 4.3, 9, "ms").to_json(),
            "energy": {"value": None, "reason": "no meter <i>here</i>"},
            "a": 3,
        },
        "alerts": [
            {"name": "error_rate", "metric": "<i>", "above": 0.01, "unit": "share", "for_s": 60, "q": 0.5},
            7,
        ],
        "owner": ["Ada", {"by": True}],
    }
    return replace(certificate, checks=(*certificate.checks, *checks), monitoring=monitoring)


def test_the_page_is_one_file_without_a_script_and_its_text_stays_text(spoiled: Path) -> None:
    certify_bundle(spoiled, of_all_kinds(spoiled), EVIDENCE, None)
    text = (spoiled / "certificate.html").read_text("utf-8")
    assert "<script>alert" not in text and "<img" not in text and "<b>more" not in text
    assert "&lt;b&gt;more memory" in text and "Approved for production on conditions." in text
    for word in ("passed", "failed", "undecided", "skipped", "no figure"):
        assert word in text
    assert read_files(spoiled).digests["certificate.json"] in text
    for told in ("4.20 ms", "4.10 – 4.30", "no meter &lt;i&gt;", "&gt; 1.0 %", "for 60 s", "Ada; by yes"):
        assert told in text, told


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_browser_shows_the_page_on_every_width_without_a_complaint(spoiled: Path, browser: Browser) -> None:
    certify_bundle(spoiled, of_all_kinds(spoiled), EVIDENCE, None)
    for width, dark in ((1280, False), (390, True)):
        browser.open(spoiled / "certificate.html", width=width, dark=dark)
        assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.value("document.querySelectorAll('.said tbody tr').length") > 6
        assert browser.errors == [] and len(browser.requests) == 1


def test_a_bundle_can_be_certified_again(bundle: Path, tmp_path: Path) -> None:
    before = content(bundle)
    certified(bundle, None, "no", ("everything",))
    found = verify_bundle(bundle)
    assert not found.is_signed and found.certificate is not None and found.certificate.approval == "no"
    assert not (bundle / "verdicts.sigstore.json").exists()
    certified(bundle, tmp_path / "signing.key")
    assert verify_bundle(bundle, public(tmp_path / "signing.key")).is_signed
    # Only the signatures differ: ECDSA's are random.
    signed = {"verdicts.sigstore.json", "signature.sigstore.json"}
    after = content(bundle)
    assert {name for name in before | after if before.get(name) != after.get(name)} == signed


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(bundle: Path, certificate: Certificate, evidence: Any, what: str) -> None:
    before = content(bundle.parent)
    with pytest.raises((InputError, SetupError), match=what) as caught:
        certify_bundle(bundle, certificate, evidence, None)
    assert caught.value.hint and content(bundle.parent) == before


def test_what_cannot_be_certified_stays_as_it_was(spoiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = certificate_of(spoiled)
    refused(spoiled, good, {}, "names certification/latency.json as evidence, which is not given")
    for path in (
        "latency.json",
        "certification",
        "certification/../manifest.json",
        "certification//x",
        "/etc/x",
    ):
        refused(spoiled, good, {**EVIDENCE, path: 1}, "evidence cannot be stored as")
    refused(spoiled, replace(good, artifact="0" * 64), EVIDENCE, "about another bundle: its artifact")
    refused(spoiled, replace(good, decision="0" * 64), EVIDENCE, "about another bundle: its decision")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        refused(spoiled, good, EVIDENCE, "No space left")
    (spoiled / "artifact" / "more").write_text("x")
    with pytest.raises(InputError, match="cannot be certified: artifact/more was added"):
        subject_of(spoiled)
    refused(spoiled, good, EVIDENCE, "artifact/more was added")
    (spoiled / "artifact" / "more").unlink()
    (spoiled / "link").symlink_to(spoiled / "decision.json")
    refused(spoiled, good, EVIDENCE, "link is a symbolic link")


def test_a_certificate_that_was_edited_is_refused_even_unsigned(spoiled: Path) -> None:
    certified(spoiled, None)
    path = spoiled / "certificate.json"
    written = path.read_text("utf-8")
    edits: list[tuple[str, Any, str]] = [
        ("_type", "x", "no in-toto Statement"),
        ("predicateType", "x", "of the type 'x'"),
        ("subject", [], "artifact/.* was added"),
        ("subject", 3, "not files with their SHA-256"),
        ("predicate", 3, "no predicate"),
        ("more", 3, "unknown keys: 'more'"),
    ]
    predicate = json.loads(written)["predicate"]
    edits += [
        ("predicate", {**predicate, "approval": "certainly"}, "approval is 'certainly'"),
        ("predicate", {**predicate, "artifact": "0" * 64}, "about another artifact"),
        ("predicate", {**predicate, "decision": "0" * 64}, "about another decision"),
        ("predicate", {**predicate, "artifact_key": "x"}, "about another artifact key"),
    ]
    for name, value, what in edits:
        path.write_text(json.dumps({**json.loads(written), name: value}))
        with pytest.raises(NotVerified, match=what):
            verify_bundle(spoiled)
    path.write_text("[" * 100_000)
    with pytest.raises(NotVerified, match="cannot be read"):
        verify_bundle(spoiled)
    path.write_text(written)
    (spoiled / "certification" / "latency.json").write_text("{}")
    with pytest.raises(NotVerified, match=r"latency\.json was changed"):
        verify_bundle(spoiled)


def test_verdicts_that_are_not_those_of_the_decision_are_refused(spoiled: Path, tmp_path: Path) -> None:
    """Whoever has the key cannot bind other verdicts to the bytes than decision.json has."""
    key = read_signing_key(make_key(tmp_path))
    certify_bundle(spoiled, certificate_of(spoiled), EVIDENCE, key)
    opened = edgehone.read(spoiled)
    digests = dict(read_files(spoiled).digests)
    digests.pop("signature.sigstore.json")
    said = statement.verdicts_statement(opened.decision, opened.manifest.approved, digests)
    for name, value in {"approved": False, "verdicts": [], "more": 1}.items():
        other = {**said, "predicate": {**said["predicate"], name: value}}
        (spoiled / "verdicts.sigstore.json").write_bytes(seal(other, key))
        digests["verdicts.sigstore.json"] = read_files(spoiled).digests["verdicts.sigstore.json"]
        (spoiled / "signature.sigstore.json").write_bytes(
            seal(statement.signature_statement("b", digests), key)
        )
        with pytest.raises(NotVerified, match=f"says another {name}"):
            verify_bundle(spoiled, public(tmp_path / "signing.key"))


def test_openssl_verifies_the_signature_with_nothing_of_ours(bundle: Path, tmp_path: Path) -> None:
    envelope = load(bundle / "signature.sigstore.json")["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"]
    (tmp_path / "signed").write_bytes(f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    words = ["openssl", "dgst", "-sha256", "-verify", "signing.pub", "-signature", "sig", "signed"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, timeout=30)
