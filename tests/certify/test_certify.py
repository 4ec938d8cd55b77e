"""The whole verb on the null backend: certificate, approval, exit codes, answers, signature."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from edgehone.attestation.certificate import Certificate
from edgehone.attestation.verify import verify_bundle
from edgehone.certify import certify as certifying
from edgehone.certify.checks import checks_for
from edgehone.certify.subject import Sources
from edgehone.cli import main
from edgehone.core.errors import InputError, JobError
from edgehone.model.digest import digest_folder
from tests.attestation.signed import make_key, public
from tests.certify.plants import CARD
from tests.certify.subjects import check, subject_of, with_model
from tests.finished import Finished

QUICK = """
[measure]
windows = 8
perturbed = 8
long_windows = 4
latency_seconds = 5
rounds = 2
stress_seconds = 0.4
"""
PERSONS = ("monitoring", "rollback")
FILES = ("integrity", "licence", "notices", "provenance", "permissions", "pickles", "file_formats")


@pytest.fixture
def bundle(finished: Finished, spoiled: Path, warm_null: None) -> Path:
    """A bundle that has all that certification asks for."""
    (spoiled / "notices" / "README.md").write_text(CARD)
    return with_model(spoiled, licence="apache-2.0")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the checks that read files are made, and nothing is measured for monitoring."""
    chosen = tuple(one for one in checks_for("language") if one.name in FILES)
    monkeypatch.setattr(certifying, "checks_for", lambda kind: chosen)
    monkeypatch.setattr(
        certifying, "monitoring", lambda subject: {"baselines": {"p50": 1}, "alerts": [{"name": "x"}]}
    )


def certify(bundle: Path, *words: str) -> int:
    return main.main(["certify", str(bundle), *words])


def certificate(bundle: Path) -> Certificate:
    found = verify_bundle(bundle).certificate
    assert found is not None
    return found


@pytest.mark.whole
def test_a_bundle_is_certified_and_signed(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, key = tmp_path / "quick.toml", make_key(tmp_path)
    profile.write_text(QUICK)
    code = certify(bundle, "--profile", str(profile), "--soak", "3s", "--key", str(key), "--json")
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert verify_bundle(bundle, public(key)).signed_by
    found = certificate(bundle)
    assert told["approval"] == found.approval == "conditional" and code == 4
    assert found.profile == "quick" and found.instruction_sets is not None
    # On a machine where other tests run, what takes time may be undecided.
    assert {one.name: one.reason for one in found.checks if one.outcome == "failed"} == {}
    assert {one.name for one in found.checks} == {one.name for one in checks_for("language")}
    for one in found.checks:
        evidence = json.loads((bundle / str(one.evidence)).read_text("utf-8"))
        assert evidence["check"] == one.name and evidence["outcome"] == one.outcome
    assert {"served_p95_s", "peak_memory_bytes", "workload_latency_ms"} <= found.monitoring[
        "baselines"
    ].keys()
    assert {"latency_p95", "error_rate", "memory"} <= {one["name"] for one in found.monitoring["alerts"]}
    assert len(found.checklist) == 19
    _the_bill_lists_what_serves(bundle, key)


def _the_bill_lists_what_serves(bundle: Path, key: Path) -> None:
    """Packages of the server with their licences, and native libraries; also after a certificate was amended."""
    text = (bundle / "bom.cdx.json").read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(text) is None
    listed = {one["name"]: one for one in json.loads(text)["components"]}
    for name in ("uvicorn", "starlette", "numpy", "python"):
        assert listed[name]["version"] and listed[name]["licenses"], name
    users = {one["value"] for one in listed["uvicorn"]["properties"] if one["name"] == "edgehone:used_by"}
    assert any("server" in one for one in users)
    if shutil.which("dpkg-query"):
        assert listed["libc6"]["purl"].startswith("pkg:deb/debian/libc6@") and listed["libc6"]["licenses"]
    assert str(bundle.parent) not in text and str(Path.home()) not in text
    certify(bundle, "--answer", "rollback=runbook 12", "--by", "A. Person", "--key", str(key))
    again = json.loads((bundle / "bom.cdx.json").read_text("utf-8"))
    assert {one["name"] for one in again["components"]} == listed.keys()


def test_answers_complete_a_certificate_and_are_remembered(bundle: Path, few: None, tmp_path: Path) -> None:
    key = make_key(tmp_path)
    assert certify(bundle) == 4
    before = certificate(bundle)
    assert certify(bundle, "--answer", "rollback=runbook 12", "--by", "A. Person", "--key", str(key)) == 4
    after = certificate(bundle)
    assert after.checks == before.checks
    assert next(one for one in after.checklist if one.name == "rollback").by == "A. Person"
    assert verify_bundle(bundle, public(key)).signed_by
    assert certify(bundle, "--answer", "rollback=none", "--by", "B") == 2  # it would no longer be signed
    assert certify(bundle) == 4  # made anew
    again = {one.name: one for one in certificate(bundle).checklist}
    assert again["rollback"].answer == "runbook 12" and again["rollback"].done
    assert again["monitoring"].done is None


def test_an_approval_is_exit_code_0(bundle: Path, few: None) -> None:
    words = [word for name in PERSONS for word in ("--answer", f"{name}=done")]
    more = [
        word
        for name in ("accuracy", "targets", "vulnerabilities", "stress", "failures")
        for word in ("--answer", f"{name}=shown elsewhere")
    ]
    assert certify(bundle, *words, *more, "--by", "A. Person") == 0
    assert certificate(bundle).approval == "yes"


def test_a_failure_is_exit_code_3_and_is_written(
    bundle: Path, few: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with_model(bundle, licence=None)
    assert certify(bundle) == 3
    assert certificate(bundle).approval == "no"
    told = capsys.readouterr().out
    assert "not approved" in told and "why not:" in told and "licence failed" in told


def test_a_check_that_breaks_is_a_failure_of_the_bundle(
    bundle: Path, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(subject: Any, rule: Any) -> None:
        raise JobError("the runtime crashed")

    (one, *others) = (one for one in checks_for("language") if one.name in FILES)
    changed = type(one)(one.name, one.category, one.looks_at, breaks)  # type: ignore[arg-type]
    monkeypatch.setattr(certifying, "checks_for", lambda kind: (changed, *others))
    assert certify(bundle) == 3
    assert "the runtime crashed" in certificate(bundle).conditions[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--profile", "{tmp}/none.toml"], "no such profile"),
        (["--soak", "soon"], "--soak"),
        (["--soak", "-5s"], "--soak"),
        (["--eval", "{tmp}/none.txt"], "--eval: there is no"),
        (["--model", "{tmp}/none"], "--model: there is no"),
        (["--advisories", "{tmp}/none"], "--advisories: there is no"),
        (["--canaries", "{tmp}/none"], "--canaries: there is no"),
        (["--answer", "rollback=yes"], "--by NAME"),
        (["--password-file", "{tmp}/none"], "belong to a key"),
        (["--key", "{tmp}/none.pem"], "cannot be read"),
    ],
)
def test_wrong_input_is_refused_and_changes_nothing(
    bundle: Path, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digest_folder(bundle)
    assert certify(bundle, *(word.format(tmp=tmp_path) for word in words)) == 2
    assert said in capsys.readouterr().err
    assert digest_folder(bundle) == before


def test_a_changed_bundle_is_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "report.html").write_text("nothing")
    assert certify(bundle) == 2
    assert "report.html" in capsys.readouterr().err
    assert certify(bundle.parent / "none") == 2


def test_another_original_is_refused(bundle: Path, null_model: Path, tmp_path: Path) -> None:
    (null_model / "config.json").write_text((null_model / "config.json").read_text().replace("4096", "4095"))
    subject = subject_of(bundle, tmp_path / "work", Sources(model=null_model))
    with pytest.raises(InputError, match="another model"):
        check(subject, "accuracy")


def test_a_certificate_of_other_files_gives_no_answers(bundle: Path, few: None) -> None:
    certify(bundle, "--answer", "rollback=runbook 12", "--by", "A. Person")
    (bundle / "certificate.json").write_text("{}")
    assert certify(bundle) == 4
    answers = {one.name: one for one in certificate(bundle).checklist}
    assert answers["rollback"].done is None
