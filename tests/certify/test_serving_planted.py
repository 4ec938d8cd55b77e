"""Planted defects of a running server: each is found by its check, and the server without them passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.certify import serving
from edgehone.certify.found import Skipped
from edgehone.certify.profile import Rule
from edgehone.certify.serving import CALM, loads
from edgehone.certify.stress import start
from edgehone.core.errors import JobError
from tests.certify.subjects import check, subject_of, with_manifest, with_settings
from tests.finished import Finished
from tests.serve.graphs import null_graph

pytestmark = pytest.mark.whole
SERVED = (
    "start", "overload", "overload_latency", "memory_returns", "recovery", "latency_trend", "memory_trend",
    "output_trend", "logs",
)  # fmt: skip


def test_the_clean_server_passes(finished: Finished, spoiled: Path, tmp_path: Path) -> None:
    subject = subject_of(spoiled, tmp_path / "work")
    found = {name: check(subject, name) for name in SERVED}
    # Other tests may run at the same time: what takes time may be undecided.
    timed = ("latency_trend", "overload_latency")
    lasting = {name: one for name, one in found.items() if name not in timed}
    assert {name: one.reason for name, one in lasting.items() if one.outcome != "passed"} == {}
    assert all(found[name].outcome in ("passed", "undecided") for name in timed), found


def test_a_server_that_decays_is_found(finished: Finished, spoiled: Path, tmp_path: Path) -> None:
    """One server has a leak, answers otherwise after a while, and prints its prompts."""
    with_settings(spoiled, leaks_kb=256, wanders_after=20, talks=True)
    subject = subject_of(spoiled, tmp_path / "work")
    for name in ("memory_returns", "memory_trend", "output_trend", "logs"):
        found = check(subject, name)
        assert found.outcome == "failed", (name, found.reason)


@pytest.mark.long
def test_a_server_that_gets_slower_is_found(finished: Finished, spoiled: Path, tmp_path: Path) -> None:
    """Undecided only where other programs, or slower processors, may have been the reason."""
    with_settings(spoiled, slows_ms=0.02)
    subject = subject_of(spoiled, tmp_path / "work", soak_seconds=20, stress_seconds=0.2)
    found = check(subject, "latency_trend")
    assert found.outcome in ("failed", "undecided") and found.figure and (found.figure.value or 0) > 0.2
    assert found.outcome == "failed" or "other programs" in found.reason or "slower" in found.reason
    measured = subject.once(loads)
    alone = [replace(one, others=0.0, unit_ms=1.0) for one in measured.blocks]
    subject._made[loads] = replace(measured, blocks=alone)
    assert check(subject, "latency_trend").outcome == "failed"


def test_a_server_that_breaks_is_found(
    finished: Finished, spoiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One server starts slowly, fails requests past three at a time, and does not start again."""
    monkeypatch.setattr(serving, "PATIENCE", 3.0)
    with_settings(spoiled, opens_s=1.5, fails_beyond=3, opens_once=str(tmp_path / "opened"))
    subject = subject_of(spoiled, tmp_path / "work", soak_seconds=0.1)
    assert start(subject, Rule(required=True, threshold=1.5)).outcome == "failed"
    for name in ("overload", "recovery"):
        found = check(subject, name)
        assert found.outcome == "failed", (name, found.reason)
    # A soak of so few blocks shows no trend.
    assert check(subject, "memory_trend").outcome == "undecided"


def test_a_server_that_answers_late_under_overload_is_found(
    finished: Finished, spoiled: Path, tmp_path: Path
) -> None:
    """Steps take ten times as long from a moment in the first overload on.

    By then at least 110 answers were given: four places at 64 ms an answer give 62 in the second before the load below
    the capacity, and that load 38.
    """
    with_settings(spoiled, pace=32, tires_after=110)
    subject = subject_of(spoiled, tmp_path / "work", stress_seconds=1.0, soak_seconds=0.1)
    found = check(subject, "overload_latency")
    assert found.figure and (found.figure.value or 0) > 2.5, found.reason
    assert found.outcome == ("undecided" if found.evidence["others"] > CALM else "failed"), found.reason
    subject._made[loads] = replace(subject.once(loads), others=0.0)
    assert check(subject, "overload_latency").outcome == "failed"


@pytest.mark.long
def test_a_graph_is_loaded_too(finished: Finished, spoiled: Path, tmp_path: Path) -> None:
    subject = subject_of(null_graph(spoiled), tmp_path / "work", soak_seconds=0.5)
    for name in ("overload", "recovery", "output_trend", "logs", "malformed_files", "network"):
        found = check(subject, name)
        assert found.outcome == "passed", (name, found.reason)


def test_a_certificate_of_other_files_does_not_keep_it_from_being_served(
    finished: Finished, spoiled: Path, tmp_path: Path
) -> None:
    (spoiled / "certificate.json").write_text("{}")
    subject = subject_of(spoiled, tmp_path / "work", stress_seconds=0.2, soak_seconds=0.1)
    assert check(subject, "start").outcome == "passed"


def test_a_server_that_does_not_start_is_told(finished: Finished, spoiled: Path, tmp_path: Path) -> None:
    with_manifest(spoiled, canaries=())
    subject = subject_of(spoiled, tmp_path / "work")
    for name in ("start", "overload"):
        with pytest.raises(JobError, match=r"ended with exit code 2: .*no canaries"):
            check(subject, name)


def test_what_is_not_approved_is_not_served(finished: Finished, spoiled: Path, tmp_path: Path) -> None:
    with_manifest(spoiled, approved=False)
    with pytest.raises(Skipped, match="not approved"):
        check(subject_of(spoiled, tmp_path / "work"), "overload")
