"""Remedies applied: what helps beyond the intervals is kept, anything else leaves the bundle as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.attestation.verify import verify_bundle
from edgehone.cli.main import main
from edgehone.core.errors import InputError
from edgehone.diagnosis.apply import apply
from edgehone.diagnosis.causes import Cause, Remedy
from edgehone.report.summary import summary
from tests.attestation.signed import certified, make_key
from tests.finished import Finished, list_again


@pytest.fixture
def own(finished: Finished, spoiled: Path, warm_null: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle that may be changed; the workload that it was optimized for is known in the current folder."""
    # Not beside the finished run: other test processes read that folder while this one writes.
    monkeypatch.chdir(spoiled.parent)
    shutil.copyfile(finished.config, "edgehone.toml")
    return spoiled


def cause(settings: Mapping[str, Any], figure: str | None = "workload_latency_ms") -> list[Cause]:
    remedy = Remedy("another pace", settings, figure)
    return [Cause("too slow", "slow", True, "it is slow", "a test", (), (remedy,))]


def manifest(bundle: Path) -> dict[str, Any]:
    return dict(json.loads((bundle / "manifest.json").read_text("utf-8")))


def test_what_helps_is_kept_and_told_in_the_decision_and_the_report(own: Path) -> None:
    certified(own, make_key(own.parent))
    (done,) = apply(own, cause({"pace": 2}))
    assert done.kept, done.reason
    assert (done.after.value or 0) < (done.before.value or 0)
    assert manifest(own)["recipe"]["settings"]["pace"] == 2
    changed = edgehone.read(own)
    (told,) = changed.decision.remedies
    assert told["candidate"] == changed.decision.chosen and told["settings"]["pace"] == 2
    assert told["cause"] == "too slow" and told["before"]["unit"] == "ms"
    for page in (summary(changed.decision), (own / "report.html").read_text("utf-8")):
        assert "edgehone diagnose --apply changed the settings" in page
    assert edgehone.verify(changed) == []
    assert verify_bundle(own).certificate is None  # it was about the settings before
    assert sorted(path.name for path in own.parent.iterdir() if "remedy" in path.name) == []


def test_what_does_not_help_is_not_kept(own: Path) -> None:
    certified(own, make_key(own.parent))
    before = manifest(own)
    (done,) = apply(own, cause({"pace": 32}))
    assert not done.kept and "no improvement" in done.reason
    assert manifest(own) == before and verify_bundle(own).is_signed


def test_what_is_read_once_must_gain_more_than_readings_differ(own: Path) -> None:
    (done,) = apply(own, cause({"ballast_mb": 0}, "peak_memory_bytes"))
    assert not done.kept and "beyond" in done.reason


@pytest.mark.whole
def test_what_breaks_a_gate_is_not_kept(own: Path) -> None:
    decision = json.loads((own / "decision.json").read_text("utf-8"))
    gate = {"name": "few", "figure": "peak_memory_bytes", "op": "<=", "threshold": 200e6, "bound": "value"}
    decision["requirements"]["gates"] = [gate]
    (own / "decision.json").write_text(json.dumps(decision), "utf-8")
    list_again(own)  # the bundle must be whole for a comparison
    written = manifest(own)
    (done,) = apply(own, cause({"pace": 2, "ballast_mb": 400}))
    assert not done.kept and "few fails" in done.reason
    assert manifest(own) == written


def test_nothing_to_apply_and_no_original(own: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no remedy"):
        apply(own, cause({}, None))
    with pytest.raises(InputError, match="no such"):
        apply(own, cause({"pace": 2}), model=tmp_path / "gone")


def test_a_log_has_nothing_to_apply_a_remedy_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.log").write_text("std::bad_alloc\n")
    assert main(["diagnose", str(tmp_path / "x.log"), "--apply"]) == 2
    assert "is a log" in capsys.readouterr().err


def test_the_command_line(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(own), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["about"] == "bundle" and {one["symptom"] for one in told["causes"]} >= {"memory", "slow"}
    assert main(["diagnose", str(own), "--all"]) == 0
    assert "Excluded:" in capsys.readouterr().out
