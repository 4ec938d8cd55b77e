"""The measuring stage: what is not measured where it would say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgehone
from edgehone.backends import null
from edgehone.device import Device
from edgehone.errors import NothingPasses
from edgehone.events import Event
from edgehone.stages import measure

TOML = "[workloads.tiny]\nprompt_tokens = 32\ngenerated_tokens = 16\n"


def test_what_says_nothing_here_is_proven_and_not_measured(
    own_home: Path, null_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Device] = []

    def unmeasurable(device: Device) -> str:
        asked.append(device)
        return "made for the moon"

    monkeypatch.setattr(null, "unmeasurable", unmeasurable, raising=False)
    config = tmp_path / "tiny.toml"
    config.write_text(TOML)
    events: list[Event] = []
    with pytest.raises(NothingPasses) as raised:
        edgehone.optimize(
            null_model,
            workload="tiny",
            effort="quick",
            backends=["null"],
            config_file=config,
            emit=events.append,
        )
    decision = raised.value.decision
    assert asked and all(isinstance(device, Device) for device in asked)
    assert decision.baseline.figure("workload_latency_ms").value is not None
    assert decision.chosen is None and "made for the moon" in decision.reason
    assert "null is proven here, not measured: made for the moon" in decision.notes
    for candidate in decision.candidates:
        assert candidate.status == "ok"
        assert candidate.figure("kl_mean").value is not None
        missing = [candidate.figure(name) for name in (*measure.UNITS, "speedup", "memory_cut")]
        assert {figure.value for figure in missing} == {None}
        assert {figure.reason for figure in missing} == {"made for the moon"}
        assert {v.gate for v in candidate.verdicts if not v.ok} >= {"speedup", "memory_cut", "latency_cv"}
        assert not candidate.on_frontier
    told = {event.state for event in events if event.key == "null/q8"}
    assert "done" in told and "measuring" not in told


def test_a_backend_that_does_not_answer_is_measured(
    own_home: Path, null_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(null, "unmeasurable", lambda device: None, raising=False)
    config = tmp_path / "tiny.toml"
    config.write_text(TOML + "[gates]\nlatency_cv = false\n")
    decision = edgehone.optimize(
        null_model, workload="tiny", effort="quick", backends=["null"], config_file=config
    )
    assert decision.chosen == "null/q8"
    measured = {name for name in measure.UNITS if name in decision.candidates[0].figures}
    # Every figure of the stage is in the table, with its own unit.
    assert measured == set(measure.UNITS)
    for name, unit in measure.UNITS.items():
        assert decision.candidates[0].figures[name].unit == unit
