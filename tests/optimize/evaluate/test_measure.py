"""The measuring stage: what is not measured where it would say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.backends.null import backend as null
from edgehone.core.events import Event
from edgehone.decision.errors import (
    NothingPasses,
)
from edgehone.device.facts import Device
from edgehone.inputs.texts import shipped
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import measure, speed_rounds
from tests.tiny import SHALLOW

TOML = f"{SHALLOW}[workloads.tiny]\nprompt_tokens = 32\ngenerated_tokens = 16\n"


def test_what_says_nothing_here_is_proven_and_not_measured(
    own_home: Path, null_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Device] = []

    def measurement_obstacle(device: Device) -> str:
        asked.append(device)
        return "made for the moon"

    monkeypatch.setattr(null, "measurement_obstacle", measurement_obstacle, raising=False)
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


def test_a_round_that_the_clocks_spoil_is_made_again_and_told(
    own_home: Path, null_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first round of q8 is as if the machine had slept in it."""
    run, spoilt = RunContext.run, []

    def sleepy(
        ctx: RunContext, backend: str, call: str, args: Mapping[str, Any], *given: Any, **more: Any
    ) -> Any:
        done = run(ctx, backend, call, args, *given, **more)
        timed = call.endswith(":time_requests") and args["round"] == 1 and "pace" not in args["settings"]
        if timed and "attempt" not in args:
            spoilt.append(done)
            return replace(done, jump="the machine slept for 12.0 s")
        return done

    monkeypatch.setattr(RunContext, "run", sleepy)
    config = tmp_path / "tiny.toml"
    config.write_text(TOML + "[gates]\nlatency_cv = false\n")
    decision = edgehone.optimize(
        null_model, workload="tiny", effort="quick", backends=["null"], config_file=config
    )
    assert len(spoilt) == 2  # of q8 and of q4
    told = "2 measurements were discarded and repeated: the machine slept for 12.0 s"
    assert told in decision.notes
    # As many rounds as the others have, none of them the spoilt one.
    rounds = decision.candidate("null/q8").figure("load_warm_ms").n + 1
    assert rounds >= speed_rounds.MIN_ROUNDS


@pytest.mark.whole
def test_clocks_that_jump_each_time_end_the_trial_and_not_the_run(own_home: Path, tmp_path: Path) -> None:
    """The session sets the wall clock that its process reads, and the worker notices."""
    model = null.make_model(tmp_path / "m", shipped("calibration").read_text("utf-8"), faults=["jump"])
    config = tmp_path / "tiny.toml"
    config.write_text(TOML + "[gates]\nlatency_cv = false\n")
    decision = edgehone.optimize(
        model, workload="tiny", effort="quick", backends=["null"], config_file=config
    )
    jumpy = decision.candidate("null/jump")
    assert jumpy.status == "failed"
    assert "the wall clock was set by +3600.0 s during a measurement, 3 times in a row" in str(jumpy.error)
    assert decision.chosen != "null/jump"


def test_a_backend_that_does_not_answer_is_measured(
    own_home: Path, null_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(null, "measurement_obstacle", lambda device: None, raising=False)
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
