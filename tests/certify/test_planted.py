"""Planted defects: each is found by its check, and the bundle without them passes."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.certify import subject
from edgehone.certify.compliance import sbom
from edgehone.certify.found import Found, Skipped
from edgehone.certify.packages import read_lock
from edgehone.certify.subject import Sources, Subject
from tests.certify import plants
from tests.certify.plants import WITHOUT_SERVER, Plant, clean
from tests.certify.subjects import (
    check,
    subject_of,
    with_manifest,
    with_model,
    with_settings,
)
from tests.finished import list_again

__all__ = ["clean"]  # fixtures


def test_the_clean_bundle_passes(clean: Path, tmp_path: Path) -> None:
    made = subject_of(clean, tmp_path / "work")
    found = {name: check(made, name) for name in WITHOUT_SERVER}
    assert {name: one.reason for name, one in found.items() if one.outcome != "passed"} == {}
    assert all(one.reason and (one.figure or one.evidence is not None) for one in found.values())


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("accuracy", plants.worse(slice(32, 128))),
        ("unicode", plants.broken_bytes),
        ("typos", plants.no_doubles),
        ("long_context", lambda bundle: with_settings(bundle, forgets_after=20)),
        ("repeated_tokens", lambda bundle: with_settings(bundle, loses_repeats=True)),
        ("odd_prompts", lambda bundle: with_settings(bundle, most_ids=150)),
        ("chat_template", plants.forgetful),
        ("chat_template", plants.lost_end),
        ("malformed_files", lambda bundle: with_settings(bundle, reckless=True)),
        ("memory", lambda bundle: with_settings(bundle, ballast_mb=64)),
        ("size", plants.larger),
        ("latency_p50", lambda bundle: with_settings(bundle, pace=32)),
        ("latency_p95", lambda bundle: with_settings(bundle, stutters_every=10)),
        ("latency_p99", lambda bundle: with_settings(bundle, stutters_every=30)),
        ("throughput", lambda bundle: with_settings(bundle, pace=32)),
        ("pickles", plants.pickled),
        ("pickles", plants.cut_pickle),
        ("file_formats", plants.objects),
        ("file_formats", plants.unknown_format),
        ("file_formats", plants.outside),
        ("template_sandbox", plants.escaping),
        ("template_sandbox", plants.endless),
        ("permissions", plants.writable),
        ("permissions", plants.linked),
        ("permissions", plants.executable),
        ("network", lambda bundle: with_settings(bundle, calls_home=True)),
        ("calibration_data", plants.canary),
        ("calibration_data", plants.canary_in(lambda text: text.encode("utf-16-le"))),
        ("calibration_data", plants.canary_in(lambda text: b64encode(text.encode()))),
        ("calibration_data", plants.canary_in(lambda text: b64encode(b"." + text.encode()))),
        ("calibration_data", plants.canary_in(lambda text: b64encode(b".." + text.encode()))),
        ("calibration_data", plants.ids_in(lambda ids: np.array(ids, "<i4").tobytes())),
        ("calibration_data", plants.ids_in(lambda ids: np.array(ids, "<u2").tobytes())),
        (
            "calibration_data",
            plants.ids_in(lambda ids: json.dumps({"ids": ids}, indent=2).encode(), "more.json"),
        ),
        ("calibration_data", plants.ids_in(plants.packed_ids, "more.npz")),
        ("integrity", plants.changed),
        ("licence", lambda bundle: with_model(bundle, licence=None)),
        ("notices", plants.no_notices),
        ("model_card", plants.no_card),
        ("provenance", lambda bundle: with_model(bundle, digest="")),
        ("provenance", lambda bundle: with_manifest(bundle, texts={})),
        ("provenance", plants.no_script),
    ],
)
def test_a_planted_defect_is_found(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, plant: Plant
) -> None:
    plant(clean)
    if plant is plants.endless:
        monkeypatch.setattr(subject, "HANGS", 3.0)
    # Only a part of the typing errors doubles a letter: such a defect needs more windows.
    more: dict[str, Any] = {"windows": 48, "perturbed": 48} if name == "typos" else {}
    found = check(subject_of(clean, tmp_path / "work", None, **more), name)
    assert found.outcome == "failed", found.reason


def test_a_licence_that_restricts_use_is_a_persons_decision(clean: Path, tmp_path: Path) -> None:
    with_model(clean, licence="cc-by-nc-4.0")
    assert check(subject_of(clean, tmp_path / "work"), "licence").outcome == "undecided"


def test_unpinned_dependencies_are_found() -> None:
    pinned, unpinned = read_lock(
        "# a comment\nnumpy==2.4.6 ; python_full_version < '3'\nnumpy==2.5.5 ; python_full_version >= '3'\n"
        "onnx>=1.2\nrequests @ https://example.org/requests.whl\nnaked\nPy_Tz==1.0\n"
    )
    assert pinned == {"numpy": "2.5.5", "py-tz": "1.0"}
    assert unpinned == ["onnx>=1.2", "requests @ https://example.org/requests.whl", "naked"]


def test_other_packages_than_proven_are_found(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_manifest(clean, versions={"null": {"numpy": "0.1"}})
    made = subject_of(clean, tmp_path / "work")
    object.__setattr__(made.env, "versions", {"numpy": "2.0"})
    assert "numpy 2.0 (was 0.1)" in check(made, "dependencies").reason
    with_manifest(clean, versions={})
    assert sbom(_with_versions(clean, tmp_path), made.profile.checks["sbom"]).outcome == "failed"


def _with_versions(bundle: Path, tmp_path: Path) -> Subject:
    made = subject_of(bundle, tmp_path / "work")
    object.__setattr__(made.env, "versions", {"numpy": "2.0"})
    return made


def _advisories(folder: Path, **affected: Any) -> Path:
    folder.mkdir()
    entry = {
        "id": "GHSA-test",
        "modified": "2026-11-01T00:00:00Z",
        "summary": "bad",
        "affected": [{"package": {"ecosystem": "PyPI", "name": "NumPy"}, **affected}],
    }
    (folder / "one.json").write_text(json.dumps(entry))
    return folder


@pytest.mark.parametrize(
    ("affected", "outcome"),
    [
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]}, "failed"),
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.0"}]}]}, "passed"),
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "99"}]}]}, "passed"),
        (
            {"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "1"}, {"last_affected": "99"}]}]},
            "failed",
        ),
        ({"versions": [np.__version__]}, "failed"),
    ],
)
def test_known_vulnerabilities_are_found(
    clean: Path, tmp_path: Path, affected: dict[str, Any], outcome: str
) -> None:
    sources = Sources(advisories=_advisories(tmp_path / "osv", **affected))
    assert check(subject_of(clean, tmp_path / "work", sources), "vulnerabilities").outcome == outcome


def test_without_a_database_vulnerabilities_are_skipped(clean: Path, tmp_path: Path) -> None:
    with pytest.raises(Skipped, match="--advisories"):
        check(subject_of(clean, tmp_path / "work"), "vulnerabilities")


def test_without_the_original_quality_is_skipped(clean: Path, tmp_path: Path) -> None:
    path = clean / "decision.json"
    decision = json.loads(path.read_text())
    decision["model"]["path"] = str(tmp_path / "gone")
    path.write_text(json.dumps(decision))
    list_again(clean)
    made = subject_of(clean, tmp_path / "work")
    for name in ("accuracy", "typos", "odd_prompts"):
        with pytest.raises(Skipped, match="--model"):
            check(made, name)


def test_figures_of_another_device_decide_nothing(clean: Path, tmp_path: Path) -> None:
    path = clean / "decision.json"
    decision = json.loads(path.read_text())
    decision["device"]["fingerprint"] = "another"
    path.write_text(json.dumps(decision))
    list_again(clean)
    found: Found = check(subject_of(clean, tmp_path / "work"), "memory")
    assert found.outcome == "undecided" and "another device" in found.reason
