"""From figures to a decision, in one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from edgehone.core.figure import Figure
from edgehone.decision import requirements
from edgehone.decision.decide import DISTURBED, Subject, decide
from edgehone.decision.decision import UNITS, Candidate, Decision
from edgehone.model.info import Kind
from tests.decision.timed import timed

WEIGHTS = {"speed": 1.0, "quality": 8.0, "memory": 0.3, "size": 0.1}


def measured(key: str, latency: float, memory: float, size: int, kept: float = 0.99) -> Candidate:
    figures = {
        "workload_latency_ms": Figure(latency, latency * 0.98, latency * 1.02, 5, "ms"),
        "latency_cv": Figure(0.03, n=5),
        "peak_memory_bytes": Figure(memory, n=1, unit="bytes"),
        "accuracy_kept": Figure(kept, kept - 0.002, kept + 0.002, 24, "ratio"),
        "kl_mean": Figure(0.001, 0.0009, 0.0011, 24, "nats"),
    }
    return Candidate(key, key.partition("/")[0], {"name": key}, bytes=size, figures=figures)


ORIGINAL = measured("pytorch/original", 300.0, 1e9, 600_000_000, kept=1.0)


def run(
    *candidates: Candidate,
    baseline: Candidate = ORIGINAL,
    gates: tuple[str, ...] = (),
    weights: Mapping[str, float] = WEIGHTS,
    kind: Kind = "language",
) -> Decision:
    required = requirements.load(overrides=gates, kind=kind)
    return decide(
        candidates,
        baseline,
        required,
        required.over(weights),
        Subject(device={"name": "here"}, model={}, workload={}, versions={}, edgehone="0.1.0"),
        created="2026-01-01T00:00:00+00:00",
    )


def test_the_best_of_those_that_pass() -> None:
    failed = Candidate("c/broken", "c", {}, status="failed", error="killed", log="job/log")
    got = run(
        measured("a/small", 100.0, 3e8, 150_000_000),
        measured("b/rough", 50.0, 2e8, 100_000_000, kept=0.8),
        measured("b/worse", 120.0, 4e8, 200_000_000),
        failed,
    )
    assert got.chosen == "a/small"
    chosen = got.candidate("a/small")
    speedup, cut = chosen.figures["speedup"], chosen.figures["memory_cut"]
    assert speedup.value == pytest.approx(3.0)
    assert speedup.low is not None
    assert 2.85 < speedup.low < 3.0
    assert cut.value == pytest.approx(0.7)
    assert chosen.figures["bytes"].value == 150_000_000
    assert [c.on_frontier for c in got.candidates] == [True, True, False, False]
    assert got.baseline.on_frontier  # nothing is nearer to the original than itself
    assert [v.gate for v in got.candidate("b/rough").verdicts if not v.ok] == ["accuracy_kept"]
    assert got.candidate("c/broken").verdicts == ()
    assert got.candidate("c/broken").figures["ttft_ms"].reason == "killed"
    assert all(set(UNITS) <= set(c.figures) for c in (*got.candidates, got.baseline))
    assert Decision.from_json(got.to_json()) == got


def on_an_accelerator(latency: float) -> Candidate:
    """A candidate whose memory is not in its process and therefore not known."""
    candidate = measured("openvino/int8@GPU", latency, 1.0, 100_000_000)
    reason = "what runs on GPU is not in the process's memory"
    figures = {**candidate.figures, "peak_memory_bytes": Figure.missing(reason, "bytes")}
    return replace(candidate, figures=figures)


def test_a_candidate_on_an_accelerator_is_chosen_if_neither_gate_nor_weight_asks_for_its_memory() -> None:
    """The memory of an accelerator is missing: it passes no gate on memory, and has no share in a score."""
    candidates = (measured("openvino/int8", 100.0, 3e8, 100_000_000), on_an_accelerator(20.0))
    weights = {"speed": 1.0, "quality": 8.0, "size": 0.1}
    got = run(*candidates, gates=("memory_cut=off",), weights=weights)
    assert got.chosen == "openvino/int8@GPU"
    assert got.candidate("openvino/int8@GPU").passes and got.candidate("openvino/int8").passes
    gated = run(*candidates, weights=weights)
    assert gated.chosen == "openvino/int8"
    failing = [verdict.gate for verdict in gated.candidate("openvino/int8@GPU").verdicts if not verdict.ok]
    assert failing == ["memory_cut"]


def test_nothing_passes_names_the_nearest_and_by_how_much() -> None:
    got = run(measured("a/near", 160.0, 3e8, 1), measured("a/far", 290.0, 9e8, 1))
    assert got.chosen is None
    assert got.reason.startswith("No candidate passes every gate. Nearest is a/near: speedup misses by ")
    assert "required >= 2" in got.reason
    far = run(measured("a/far", 290.0, 9e8, 1))
    assert "memory_cut misses by" in far.reason and "speedup misses by" in far.reason


def test_if_nothing_passes_the_best_that_keeps_the_quality_is_the_fallback() -> None:
    got = run(measured("a/near", 160.0, 3e8, 1), measured("a/rough", 50.0, 1e8, 1, kept=0.8))
    assert got.chosen is None and got.fallback == got.bundled == "a/near"
    assert "a/near: speedup misses" in got.reason and "keeps the quality: a/near" in got.reason
    assert Decision.from_json(got.to_json()) == got


def test_what_the_user_has_is_the_fallback_if_it_is_the_best_that_keeps_the_quality() -> None:
    got = run(measured("a/slow", 500.0, 2e9, 599_900_000), measured("a/rough", 50.0, 1e8, 1, kept=0.8))
    assert got.chosen is None and got.fallback == "pytorch/original"


def test_the_original_is_chosen_over_one_that_is_slower_and_larger_in_memory_to_save_a_little_size() -> None:
    slower = measured("a/slow", 330.0, 1.2e9, 599_900_000)
    got = run(slower, gates=("speedup=off", "memory_cut=off"))
    assert got.chosen == "pytorch/original"
    assert Decision.from_json(got.to_json()).chosen == "pytorch/original"


def test_a_candidate_that_loses_quality_is_farther_than_one_that_only_is_slow() -> None:
    got = run(measured("a/rough", 149.0, 3e8, 1, kept=0.94), measured("a/slow", 299.0, 3e8, 1))
    assert "Nearest is a/slow: speedup" in got.reason


def test_nothing_measured() -> None:
    got = run(Candidate("a/x", "a", {}, status="failed", error="no compiler"))
    assert got.chosen is None and got.fallback == "pytorch/original"
    assert got.reason.startswith("No candidate passes: none of 1 could be measured: a/x: no compiler.")


def test_without_a_measured_baseline_the_gates_that_compare_with_it_fail() -> None:
    broken = Candidate("pytorch/original", "pytorch", {}, status="failed", error="out of memory")
    got = run(measured("a/one", 100.0, 3e8, 1), baseline=broken)
    failing = {v.gate: v.reason for v in got.candidates[0].verdicts if not v.ok}
    assert failing == {"speedup": "out of memory", "memory_cut": "out of memory"}
    off = run(measured("a/one", 100.0, 3e8, 1), baseline=broken, gates=("speedup=off", "memory_cut=off"))
    assert off.chosen == "a/one"


def test_the_facts_of_the_run_are_kept() -> None:
    got = run(measured("a/one", 100.0, 3e8, 1))
    assert (got.device, got.edgehone, got.created) == ({"name": "here"}, "0.1.0", "2026-01-01T00:00:00+00:00")
    assert got.requirements["weights"] == WEIGHTS
    assert {g["name"] for g in got.requirements["gates"]} >= {"speedup", "accuracy_kept"}


@pytest.mark.parametrize("kind", ["language", "graph"])
@pytest.mark.parametrize("told", [True, False])
def test_a_much_faster_candidate_on_an_accelerator_is_chosen_by_the_default_weights(
    kind: Kind, told: bool
) -> None:
    """With its memory under the default gates; without it under those that do not ask for it."""
    gpu, cpu = measured("a/int4@GPU.0", 2.0, 4e8, 150_000_000), measured("b/int4", 100.0, 3e8, 150_000_000)
    if not told:
        missing = Figure.missing("the process's memory does not include GPU.0", "bytes")
        gpu = replace(gpu, figures={**gpu.figures, "peak_memory_bytes": missing})
    gates = () if told or kind == "graph" else ("memory_cut=off",)
    got = run(gpu, cpu, gates=gates, kind=kind)
    assert got.chosen == "a/int4@GPU.0"
    assert ("memory was not measured for a/int4@GPU.0" in got.reason) is not told


QUIET_ORIGINAL = timed("pytorch/original", [300.0, 301.0, 299.0], size=600_000_000, memory=1e9)


def test_speedups_are_of_paired_rounds() -> None:
    """A machine that gets twice as slow slows both."""
    original = timed("pytorch/original", [300.0, 600.0, 450.0], size=600_000_000, memory=1e9)
    got = run(timed("a/one", [100.0, 201.0, 149.0], memory=3e8), baseline=original)
    speedup = got.candidates[0].figures["speedup"]
    assert speedup.value == pytest.approx(3, rel=0.01)
    assert speedup.low is not None and speedup.low > 2.9
    assert got.chosen == "a/one"


def test_if_one_may_pass_the_decision_is_open_and_says_why() -> None:
    got = run(timed("a/near", [140.0, 170.0, 145.0]), baseline=QUIET_ORIGINAL)
    assert got.chosen is None and got.candidates[0].undecided
    assert got.reason.startswith(
        "Not decided on this machine: one candidate may pass every gate. a/near: speedup"
    )
    assert "more rounds on a quieter machine would decide" in got.reason
    assert Decision.from_json(got.to_json()) == got
    both = run(
        timed("a/near", [140.0, 170.0, 145.0]),
        timed("b/near", [140.0, 171.0, 146.0]),
        baseline=QUIET_ORIGINAL,
    )
    assert "2 candidates may pass every gate" in both.reason


def test_what_fails_a_gate_too_is_not_open() -> None:
    got = run(timed("a/fat", [140.0, 170.0, 145.0], memory=9e8), baseline=QUIET_ORIGINAL)
    assert not got.candidates[0].undecided
    assert got.reason.startswith("No candidate passes every gate.")


@pytest.mark.parametrize("which", ["candidate", "original"])
def test_disturbed_rounds_decide_nothing_about_speed(which: str) -> None:
    told = {DISTURBED: "other programs take 93 % of the processors while it was measured"}
    one, original = timed("a/one", [100.0, 101.0, 99.0]), QUIET_ORIGINAL
    assert run(one, baseline=original).chosen == "a/one"
    if which == "candidate":
        one = replace(one, facts={**one.facts, **told})
    else:
        original = replace(original, facts={**original.facts, **told})
    got = run(one, baseline=original)
    assert got.chosen is None and got.candidates[0].undecided
    assert "other programs take 93 % of the processors" in got.reason
    assert [v.gate for v in got.candidates[0].verdicts if v.undecided] == ["speedup", "latency_cv"]


def test_a_better_candidate_that_is_undecided_is_named_beside_the_chosen_one() -> None:
    clear = timed("b/clear", [140.0, 141.0, 139.0])
    fast = timed("a/fast", [50.0, 51.0, 49.0])
    fast = replace(fast, figures={**fast.figures, "latency_cv": Figure(0.25, 0.15, 0.35, 5, "ratio")})
    got = run(clear, fast, baseline=QUIET_ORIGINAL)
    assert got.chosen == "b/clear"
    (note,) = [note for note in got.notes if "undecided" in note]
    assert note.startswith(
        "a/fast would be chosen if it passed the gates that are undecided on this machine: latency_cv"
    )
    slow = replace(
        fast,
        figures={
            **fast.figures,
            **timed("a/slow", [145.0, 146.0, 144.0]).figures,
            "latency_cv": fast.figures["latency_cv"],
        },
    )
    assert not run(clear, replace(slow, facts={}), baseline=QUIET_ORIGINAL).notes
    assert not run(clear, baseline=QUIET_ORIGINAL).notes
