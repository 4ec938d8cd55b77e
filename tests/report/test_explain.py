"""The explanation of a decision: stages, tuned settings, and why other candidates lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgehone.core.figure import Figure
from edgehone.decision.decide import Subject, decide
from edgehone.decision.decision import Candidate, Conversion, Decision
from edgehone.decision.requirements import Gate, Requirements
from edgehone.report.explain import explanation, losses, stages, tuning

SPEED = Gate("speedup", "speedup", ">=", 2.0, "value")


def candidate(key: str, latency: float, size: int, kl: float = 0.001, **facts: object) -> Candidate:
    figures = {
        "workload_latency_ms": Figure(latency, latency * 0.98, latency * 1.02, 5, "ms"),
        "peak_memory_bytes": Figure(2.0 * size, n=1, unit="bytes"),
        "accuracy_kept": Figure(1.0, 0.99, 1.01, 24, "ratio"),
        "kl_mean": Figure(kl, kl, kl, 24, "nats"),
    }
    backend = key.partition("/")[0]
    return Candidate(key, backend, {"settings": {}}, bytes=size, figures=figures, facts=facts)


def decided(*candidates: Candidate) -> Decision:
    exact = Figure(0.0, 0.0, 0.0, 24, "nats")
    return decide(
        candidates,
        candidate("pytorch/original", 100, 8_000_000),
        Requirements((SPEED,), {}, {}),
        {"speed": 1.0, "quality": 8.0},
        Subject(device={}, model={}, workload={}, versions={}, edgehone="0"),
        conversions=[Conversion("a", "a/f16", True, exact, exact, exact, exact, True, "as the original")],
    )


TRIED = [
    {"key": "a/q4[threads=1]", "settings": {"threads": 1}, "status": "ok", "latency_ms": 30.0, "ahead": -0.4,
     "low": -0.5, "high": -0.3, "reason": "no gain: -0.4 in the score (-0.5 to -0.3)"},
    {"key": "a/q4[kv=q8]", "settings": {"kv": "q8"}, "status": "ok", "latency_ms": 15.0, "ahead": 0.3, "low": 0.2,
     "high": 0.4, "reason": None},
    {"key": "a/q4[kv=q8]", "settings": {"kv": "q8"}, "status": "ok", "latency_ms": 15.0, "ahead": 0.3, "low": 0.2,
     "high": 0.4, "reason": None, "confirmed": True},
]  # fmt: skip
PLAIN = candidate(
    "a/q4", 20, 2_000_000, raced_out="out of the race: a/q4+tuned is the same with better settings"
)
TUNED = candidate(
    "a/q4+tuned", 15, 2_000_000, tuned_from="a/q4", tuning=TRIED, bound="decoding reads 2 MB a token"
)
OTHERS = (
    candidate("a/f16", 50, 4_000_000),
    candidate("b/q4", 40, 2_000_000),
    candidate("b/q8", 60, 4_000_000),
)


def test_stages_of_a_tuned_candidate_are_compared_with_the_previous_stage() -> None:
    decision = decided(PLAIN, TUNED, *OTHERS)
    assert decision.chosen == "a/q4+tuned"
    shown = {stage.name: stage for stage in stages(decision)}
    assert list(shown) == ["baseline", "conversion", "quantization", "acceleration", "validation"]
    keys = [stage.candidate.key if stage.candidate else None for stage in shown.values()]
    assert keys == ["pytorch/original", "a/f16", "a/q4", "a/q4+tuned", None]
    assert shown["quantization"].text == "quantized"
    assert shown["acceleration"].text == "runtime settings: kv = q8"
    assert shown["validation"].text.startswith("1 of 1 gates pass")
    text = explanation(decision)
    line = next(line for line in text.splitlines() if line.split()[:1] == ["acceleration"])
    assert "15.0 (×0.75)" in line
    assert "Bottleneck: decoding reads 2 MB a token." in text
    assert "threads = 1" in text and "no gain" in text and "confirmed in new rounds" in text
    assert tuning(decision) == TRIED


@pytest.mark.parametrize(("share", "told"), [(0.9, True), (0.96, False), (0.0, False), (None, False)])
def test_weights_that_stay_in_floats_are_told(share: float | None, told: bool) -> None:
    facts = {} if share is None else {"quantized_share": share, "unquantized": ["experts.0", "experts.1"]}
    partly = replace(OTHERS[0], facts={**OTHERS[0].facts, **facts})
    text = explanation(decided(PLAIN, TUNED, partly, *OTHERS[1:]))
    line = f"  {partly.key}: 90% of the weights; in floats: experts.0, experts.1"
    assert (line in text.splitlines()) == told and ("Quantized in part:" in text) == told


def test_each_other_has_its_reason() -> None:
    decision = decided(PLAIN, TUNED, *OTHERS)
    lost = losses(decision)
    assert set(lost) == {"a/q4", "a/f16", "b/q4", "b/q8"}
    assert lost["a/q4"] == "out of the race: a/q4+tuned is the same with better settings"
    assert "behind by" in lost["b/q4"] and "fails speedup" in lost["b/q8"]


def test_stages_name_settings_that_did_not_gain_or_were_not_searched() -> None:
    plain = candidate("a/q4", 20, 2_000_000)
    for facts, text in (
        ({"tuning": TRIED[:1]}, "none of the others (1 tried) was better beyond its interval"),
        (
            {"tuning": [{**TRIED[0], "ahead": None}]},
            "the time ran out before other settings could be compared",
        ),
        ({"untuned": "no time was left"}, "no other settings were searched: no time was left"),
        ({}, "a quick run does not search settings"),
    ):
        found = {stage.name: stage for stage in stages(decided(replace(plain, facts=facts), *OTHERS))}
        assert found["acceleration"].candidate is None and text in found["acceleration"].text
        assert found["quantization"].candidate is not None
    led = replace(OTHERS[0], facts={"tuning": TRIED[:1]})
    found = {stage.name: stage for stage in stages(decided(plain, led))}
    assert f"searched for {led.key}, which led before the last rounds" in found["acceleration"].text


def test_an_exact_winner_is_the_conversion_itself_tuned_or_not() -> None:
    tuned = candidate("a/f16+tuned", 10, 4_000_000, tuned_from="a/f16", tuning=TRIED)
    plain = candidate("a/f16", 50, 4_000_000, raced_out="out of the race")
    found = {stage.name: stage for stage in stages(decided(plain, tuned))}
    assert "the conversion itself" in found["quantization"].text


def test_nothing_to_bundle_leaves_the_baseline_and_the_reason() -> None:
    decision = replace(decided(candidate("a/f16", 90, 4_000_000)), fallback=None)
    assert [stage.name for stage in stages(decision)] == ["baseline", "validation"]
    assert "No candidate passes" in explanation(decision)


def test_the_divergence_by_position_is_told() -> None:
    parts = [{"up_to": 128, "value": 0.00123}, {"up_to": 256, "value": None}]
    chosen = candidate("a/q4", 20, 2_000_000, kl_by_position=parts)
    told = explanation(decided(chosen, *OTHERS))
    assert "KL divergence by position in the context: up to 128 0.0012, up to 256 unknown." in told
    assert "by position" not in explanation(decided(candidate("a/q4", 20, 2_000_000), *OTHERS))
