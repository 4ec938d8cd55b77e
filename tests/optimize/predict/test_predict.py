"""A run for another device, on the null backend: proven here, predicted there, and labelled so everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgehone
from edgehone import bundle
from edgehone.backends.null import backend
from edgehone.core.errors import (
    InputError,
    ModelError,
)
from edgehone.decision import requirements
from edgehone.decision.decision import Decision
from edgehone.decision.errors import (
    NothingPasses,
)
from edgehone.device import catalogue
from edgehone.optimize.predict import predict
from edgehone.optimize.search import history
from edgehone.plan.target import PredictionTarget
from edgehone.report.explain import explanation
from edgehone.report.summary import summary
from tests.tiny import SHALLOW

TOML = f"""{SHALLOW}
[workloads.tiny]
prompt_tokens = 32
generated_tokens = 16
[devices.slow]
title = "Half as fast as any"
row = "arm_embedded"
architecture = "aarch64"
cpu = "made up"
threads = 1
clock_ghz = 0.1
flops_per_cycle = 8
memory_gb = 1.0
bandwidth_gb_s = 1.0
size_budget_mb = 0.15
[devices.dark]
title = "Nothing is known of it"
row = "arm_embedded"
architecture = "aarch64"
cpu = "made up"
threads = 1
[devices.picky]
title = "It cannot run the null backend"
row = "arm_embedded"
architecture = "aarch64"
cpu = "made up"
threads = 1
cannot = {{ null = "it has no null" }}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TOML)
    return path


def optimize(model: Path, config: Path, device: str, **more: object) -> Decision:
    return edgehone.optimize(
        model,
        device=device,
        workload="tiny",
        effort="quick",
        backends=["null"],
        config_file=config,
        **more,  # type: ignore[arg-type]
    )


def test_quality_is_proven_here_and_speed_predicted_there(
    own_home: Path, null_model: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    found = optimize(null_model, config, "slow", gates=["speedup=off", "memory_cut=off"], out=out)
    chosen = found.candidate(found.chosen or "")
    for name in ("workload_latency_ms", "decode_tokens_per_s", "ttft_ms", "peak_memory_bytes", "speedup"):
        assert chosen.figure(name).predicted, name
        assert chosen.figure(name).n == 0
    assert found.baseline.figure("workload_latency_ms").predicted
    for name in ("kl_mean", "accuracy_kept", "bytes"):
        assert not chosen.figure(name).predicted
        assert chosen.figure(name).value is not None
    here = chosen.facts["measured_here"]["workload_latency_ms"]
    assert here["n"] >= 3
    # 0.1 GHz: slower than this machine, whichever it is.
    assert (chosen.figure("workload_latency_ms").low or 0) > 2 * here["value"]
    assert "not predicted for slow" in str(chosen.figure("latency_p50_ms").reason)

    # Its budget is a gate: the unquantized table of 257 · 257 floats is too large for it.
    exact = found.candidate("null/f32")
    assert [v.gate for v in exact.verdicts if not v.ok and v.gate == "size_budget"]
    memory = next(v for v in chosen.verdicts if v.gate == "device_memory")
    assert memory.bound == "high"
    assert "predicted" in memory.reason
    assert any("the gate latency_cv is dropped" in note for note in found.notes)
    assert any("predicted for slow, not measured" in note for note in found.notes)

    read = bundle.read(out)
    assert bundle.verify(read) == []
    assert read.manifest.target and read.manifest.target["name"] == "slow"
    assert "--device slow" in (out / "reproduce.sh").read_text()
    assert "for slow (speed and memory predicted, not measured)" in summary(read.decision)
    assert chosen.key in explanation(read.decision)
    # What was measured here is what the history keeps.
    [study] = history.studies()
    kept = study.trials[chosen.key].figures["workload_latency_ms"]
    assert kept.value == here["value"]


def test_what_is_not_known_of_a_device_fails_the_gates_and_says_why(
    own_home: Path, null_model: Path, config: Path
) -> None:
    with pytest.raises(NothingPasses) as caught:
        optimize(null_model, config, "dark")
    told = caught.value.decision.candidate("null/q8")
    assert told.figure("workload_latency_ms").value is None
    assert told.figure("workload_latency_ms").reason == "not stated in the catalogue"
    assert not told.figure("kl_mean").predicted


def test_what_cannot_be_asked_for(own_home: Path, null_model: Path, config: Path) -> None:
    with pytest.raises(InputError, match="unknown device 'slo'") as caught:
        optimize(null_model, config, "slo")
    assert "did you mean 'slow'" in str(caught.value.hint)
    with pytest.raises(ModelError, match="it has no null"):
        optimize(null_model, config, "picky")


@pytest.mark.whole
def test_a_search_for_another_device_goes_by_its_predictions(
    own_home: Path, null_model: Path, config: Path
) -> None:
    off = ["speedup=off", "memory_cut=off"]
    found = optimize(null_model, config, "slow", gates=off, time=120)
    whole = optimize(null_model, config, "slow", gates=off)
    # The same table twice, once tuned on a text: which of them is read as faster is chance.
    assert {found.chosen, whole.chosen} <= {"null/q8", "null/q8+text"}
    chosen = found.candidate(found.chosen or "")
    assert chosen.figure("workload_latency_ms").predicted
    assert chosen.facts["measured_here"]["workload_latency_ms"]["n"] >= 3
    # Nobody lost a race on this machine; who fails on the first windows is still not measured.
    assert not [one.key for one in found.candidates if "raced_out" in one.facts]
    assert found.candidate("null/q2").status == "skipped"
    [study] = [one for one in history.studies() if one.trials]
    again = optimize(null_model, config, "slow", gates=off, time=120)
    assert again.chosen == found.chosen
    assert study.trials.keys() == {one.key for one in again.candidates}


def test_a_search_predicts_what_cannot_be_measured_here(
    own_home: Path, null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        backend, "measurement_obstacle", lambda device: "it is made for telephones", raising=False
    )
    with pytest.raises(NothingPasses, match="the memory that null itself uses is not known") as caught:
        optimize(null_model, config, "slow", gates=["speedup=off", "memory_cut=off"], time=120)
    found = caught.value.decision
    eight = found.candidate("null/q8")
    assert eight.status == "ok" and eight.facts["unmeasurable"] == "it is made for telephones"
    assert eight.figure("workload_latency_ms").predicted and not eight.figure("kl_mean").predicted
    assert eight.facts["measured_here"] == {}
    assert found.baseline.figure("peak_memory_bytes").predicted


def test_gates_that_no_prediction_tells_of_are_set_aside_unless_they_were_asked_for() -> None:
    phone = PredictionTarget.from_catalogue(catalogue.shipped()["android-snapdragon-8-gen-2"])
    required, notes = predict.required_of(phone, requirements.load())
    names = [gate.name for gate in required.gates]
    assert names == ["accuracy_kept", "speedup", "memory_cut", "size_budget", "device_memory"]
    assert len(notes) == 1
    assert required.gates[-2].threshold == 100_000_000
    asked, notes = predict.required_of(phone, requirements.load(overrides=["latency_cv=0.1"]))
    assert "latency_cv" in [gate.name for gate in asked.gates]
    assert notes == []
