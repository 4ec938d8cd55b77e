"""A machine that never gets quiet: exit code 4 with what is known, or at once if the run must not wait."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.backends.null import backend
from edgehone.cli import main
from edgehone.core.errors import InputError
from edgehone.decision.errors import NotDecided
from edgehone.optimize.context import RunContext


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    """In every round other programs took nearly all of the time; the null backend's clock does not show it."""
    config.write_text(
        config.read_text().replace("budget = 10.0", "budget = 0")
    )  # rounds are not repeated for long
    run = RunContext.run

    def disturbed(ctx: RunContext, name: str, call: str, *given: Any, **more: Any) -> Any:
        done = run(ctx, name, call, *given, **more)
        if not call.endswith(":time_requests"):
            return done
        requests = [request | {"delay": 5 * request["total"]} for request in done.facts["requests"]]
        conditions: Mapping[str, Any] = {**done.facts["conditions"], "others_share": 0.97}
        return replace(done, facts={**done.facts, "requests": requests, "conditions": conditions})

    monkeypatch.setattr(RunContext, "run", disturbed)
    every = backend.recipes
    monkeypatch.setattr(
        backend, "recipes", lambda model: [r for r in every(model) if r.name in ("f32", "q8")]
    )


def words(model: Path, config: Path, *more: str) -> list[str]:
    asked = ["--workload", "tiny", "--effort", "quick", "--backends", "null", "--json"]
    return ["optimize", str(model), *asked, "--config", str(config), *more]


@pytest.mark.usefixtures("own_home", "busy")
def test_what_could_not_be_measured_is_not_decided(
    null_model: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(words(null_model, config, "--out", str(tmp_path / "out"))) == NotDecided.exit_code == 4
    told = json.loads(capsys.readouterr().out)
    decision = edgehone.read(tmp_path / "out").decision
    assert told["chosen"] is None and decision.chosen is None
    assert decision.reason.startswith("Not decided on this machine: ")
    assert "97 % of the processors" in decision.reason
    q8 = decision.candidate("null/q8")
    assert {v.gate: v.word for v in q8.verdicts} == {
        "accuracy_kept": "passes", "speedup": "not decided", "memory_cut": "passes"
    }  # fmt: skip
    # What is known is there, and the best by it is bundled, not approved.
    assert q8.figure("workload_latency_ms").value is not None
    assert not edgehone.read(tmp_path / "out").manifest.approved


@pytest.mark.usefixtures("own_home", "busy")
def test_a_run_that_must_not_wait_stops_with_exit_code_4(
    null_model: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(words(null_model, config, "--when-busy", "stop")) == 4
    told = json.loads(capsys.readouterr().out)
    assert told["error"].startswith("the machine is too busy to measure: ")
    assert "--when-busy wait" in told["hint"]


def test_an_unknown_mode_is_refused(
    null_model: Path, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main.main(words(null_model, config, "--when-busy", "never")) == 2
    assert "never" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.usefixtures("own_home")
def test_an_unknown_mode_is_refused_before_anything_slow(
    null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgehone.model.digest.digest_model", lambda *given: pytest.fail("hashed the model"))
    mode: Any = "wiat"
    with pytest.raises(InputError, match="--when-busy 'wiat' is unknown"):
        edgehone.optimize(null_model, workload="tiny", backends=["null"], config_file=config, when_busy=mode)
