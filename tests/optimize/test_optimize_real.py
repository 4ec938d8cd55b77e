"""Whole runs on real toolchains, as an engineer asks for them: several clients, a board, a graph, a byte budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.backends.llamacpp import backend
from edgehone.backends.olive import backend as olive
from edgehone.backends.openvino import backend as openvino
from edgehone.decision.decision import Candidate
from edgehone.inference.run_bundle import generate
from edgehone.model.demo import demo_graph
from edgehone.optimize.search import history
from tests import recipes

# What is judged here is that it runs; how fast a busy machine is must not decide.
GATES = ("speedup=off", "memory_cut=off", "latency_cv=off")
TOML = """
[workloads.tiny]
prompt_tokens = 32
generated_tokens = 16
[workloads.clients]
prompt_tokens = 32
generated_tokens = 16
batch = 2
concurrency = 2
weights = { throughput = 1.0, quality = 8.0 }
[efforts.quick]
budget = 10.0
patience = 0.0
rounds = 3
seconds = 0.03
samples = 128
windows = 8
window = 128
tuning = 5
[efforts.normal]
budget = 10.0
patience = 0.0
rounds = 2
seconds = 0.03
tuning = 0
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Few rounds, and a little time for runtime settings."""
    path = tmp_path / "edgehone.toml"
    path.write_text(TOML)
    return path


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Leave of llama.cpp's recipes those that are named."""
    return lambda names: recipes.only(monkeypatch, backend, *names)


@pytest.fixture
def optimize_here(tmp_path: Path, config: Path) -> Any:
    """Optimize a model into tmp_path/bundle, by the settings above."""

    def run(model: Path, **more: Any) -> edgehone.Decision:
        asked = {"effort": "quick", "backends": ["llamacpp"], "gates": GATES, **more}
        return edgehone.optimize(model, out=tmp_path / "bundle", config_file=config, **asked)

    return run


def tuning_of(decision: edgehone.Decision) -> list[dict[str, Any]]:
    """The settings that were tried: for the chosen one, or for who led before a busy machine's next rounds."""
    return [told for one in decision.candidates for told in one.facts.get("tuning", ())]


def value(candidate: Candidate, figure: str) -> float:
    found = candidate.figure(figure).value
    assert found is not None, (candidate.key, candidate.figure(figure).reason)
    return found


@pytest.mark.long
@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_two_clients_with_two_prompts_each_are_served_and_settings_searched_for_them(
    demo_model: Path, tmp_path: Path, optimize_here: Any, only: Any
) -> None:
    only(("F16", "Q4_0"))
    decision = optimize_here(demo_model, workload="clients")
    assert decision.chosen is not None
    chosen = decision.candidate(decision.chosen)
    # Two requests of two prompts are under way, each with 16 tokens.
    assert value(chosen, "tokens_per_s_total") == pytest.approx(
        16 * value(chosen, "requests_per_s"), rel=0.01
    )
    assert value(chosen, "requests_per_s") > value(decision.baseline, "requests_per_s")
    told = tuning_of(decision)
    assert {"threads"} <= {name for one in told for name in one["settings"]}
    assert any(one["latency_ms"] for one in told)
    # What the bundle runs with is what won.
    read = edgehone.read(tmp_path / "bundle")
    assert edgehone.verify(read) == [] and read.manifest.recipe == chosen.recipe
    assert generate(read, "The captain looked at", 8, quiet=True)["tokens"] == 8


@pytest.mark.real
@pytest.mark.xdist_group("measures")
@pytest.mark.long
def test_a_search_for_a_board_is_proven_here_and_predicted_there(
    demo_model: Path, tmp_path: Path, optimize_here: Any, only: Any
) -> None:
    only(("F16", "Q8_0", "Q4_0"))
    decision = optimize_here(demo_model, device="raspberry-pi-5", workload="tiny", time=300, gates=GATES[:2])
    assert decision.chosen is not None
    chosen = decision.candidate(decision.chosen)
    assert chosen.figure("workload_latency_ms").predicted and not chosen.figure("kl_mean").predicted
    assert chosen.facts["measured_here"]["workload_latency_ms"]["n"] >= 3
    assert {one.key for one in decision.candidates if one.status == "ok"} >= {"llamacpp/F16", "llamacpp/Q4_0"}
    assert "tuning" not in chosen.facts
    assert (edgehone.read(tmp_path / "bundle").manifest.target or {})["name"] == "raspberry-pi-5"
    study = [one for one in history.studies() if one.about.get("target") == "raspberry-pi-5"][-1]
    assert study.trials[chosen.key].figures["workload_latency_ms"].n >= 3


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_the_settings_of_a_graph_are_searched(
    tmp_path: Path, optimize_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes.only(monkeypatch, openvino, "fp32", "int8_performance")
    recipes.only(monkeypatch, olive, "fp32", "int8_static")
    graph = demo_graph()
    samples = graph.parent / "evaluation.npz"
    # Requests of 0.03 ms differ by more than a gate's tenth where other tests run.
    gates = ("gain=off", "loss=off", "latency_cv=off")
    decision = optimize_here(graph, evaluation=samples, backends=["openvino", "olive"], gates=gates)
    told = tuning_of(decision)
    assert any(one["latency_ms"] for one in told)
    assert {one["status"] for one in told} <= {"ok", "skipped"}
    assert edgehone.verify(edgehone.read(tmp_path / "bundle")) == []


@pytest.mark.real
@pytest.mark.xdist_group("measures")
@pytest.mark.long
def test_a_byte_budget_is_spent_by_what_rounding_costs(
    demo_model: Path, tmp_path: Path, optimize_here: Any, only: Any
) -> None:
    only(("F16", "Q4_K_M", "mix-5+gptq"))
    asked = {"maximize": ["quality"], "subject_to": ["bytes<=2.45MB"]}
    decision = optimize_here(demo_model, workload="tiny", effort="normal", **asked)
    # A mix of fixed bits is as good, and may be taken as the smaller.
    assert decision.chosen and decision.chosen.startswith("llamacpp/mix-")
    fitted = decision.candidate("llamacpp/mix-2.45MB+gptq")
    default = decision.candidate("llamacpp/Q4_K_M")
    assert 2_300_000 < (fitted.bytes or 0) <= 2_450_000
    for mixed in (fitted, decision.candidate(decision.chosen)):
        assert value(mixed, "kl_mean") <= value(default, "kl_mean") / 2
    assert edgehone.verify(edgehone.read(tmp_path / "bundle")) == []
