"""The gates of graphs: one gain is enough, nothing else may be lost; memory counts what the model adds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.core.figure import Figure
from edgehone.decision import gain, requirements
from edgehone.decision.decide import derive, judged_of
from edgehone.decision.decision import Candidate

MB = 10**6


def graph(latency: float, size: float, peak: float, added: float | None = None) -> Candidate:
    """A candidate of `latency` ms, known within 1 %; sizes in MB."""
    figures = {
        "workload_latency_ms": Figure(latency, latency * 0.99, latency * 1.01, 5, "ms"),
        "peak_memory_bytes": Figure(peak * MB, n=1, unit="bytes"),
        "accuracy_kept": Figure(1.0, 0.98, 1.0, 200, "share"),
        "latency_cv": Figure(0.03, n=5),
    }
    if added is not None:
        figures["added_memory_bytes"] = Figure(added * MB, n=1, unit="bytes")
    return Candidate("a/one", "a", {}, bytes=int(size * MB), figures=figures)


ORIGINAL = graph(10.0, 12.0, 90.0, 20.0)


def failing(candidate: Candidate, baseline: Candidate = ORIGINAL) -> list[str]:
    judged = judged_of(candidate, baseline, requirements.load(kind="graph"))
    return [verdict.gate for verdict in judged.verdicts if not verdict.ok]


@pytest.mark.parametrize(
    ("candidate", "gates"),
    [
        (graph(8.0, 12.0, 90.0, 20.0), []),  # 1.25 times as fast
        (graph(10.5, 6.5, 90.0, 20.0), []),  # half the size, 5 % slower
        (graph(10.0, 12.0, 80.0, 10.0), []),  # half of the added memory, 89 % of the process's
        (graph(10.0, 12.0, 83.0, 13.0), ["gain"]),  # 7 MB less, as equal processes differ
        (graph(9.0, 9.0, 85.0, 16.0), ["gain"]),  # a little of each
        (graph(12.0, 3.0, 90.0, 20.0), ["loss"]),  # a quarter of the size, 20 % slower
        (graph(5.0, 3.0, 99.0, 30.0), []),  # a quarter of the size, and 10 MB more in another runtime
        (graph(5.0, 3.0, 160.0, 90.0), ["loss"]),  # twice as fast, with 70 MB more memory
        (graph(10.0, 12.0, 90.0, 20.0), ["gain"]),  # the original itself
    ],
)
def test_one_gain_is_enough_and_no_loss_over_a_tenth(candidate: Candidate, gates: list[str]) -> None:
    assert failing(candidate) == gates


def test_without_what_the_model_adds_the_peak_counts() -> None:
    old = replace(ORIGINAL, figures={k: v for k, v in ORIGINAL.figures.items() if k != "added_memory_bytes"})
    assert derive(graph(10.0, 12.0, 45.0, 5.0), old)["memory_cut"].value == pytest.approx(0.5)


def test_a_missing_speed_is_no_gain_and_a_missing_memory_no_loss() -> None:
    dark = graph(8.0, 12.0, 90.0)
    unknown = replace(
        dark, figures={**dark.figures, "peak_memory_bytes": Figure.missing("on the GPU", "bytes")}
    )
    assert failing(unknown) == []
    unread = replace(dark, figures={**dark.figures, "workload_latency_ms": Figure.missing("not here", "ms")})
    assert failing(unread) == ["gain", "loss"]


def test_language_models_keep_their_gates() -> None:
    names = {
        kind: {gate.name for gate in requirements.load(kind=kind).gates} for kind in ("language", "graph")
    }
    assert names["language"] == {"accuracy_kept", "speedup", "memory_cut", "latency_cv"}
    assert names["graph"] == {"accuracy_kept", "gain", "loss"}
    assert {gate.name for gate in requirements.load({}, ["speedup=1.5"], "graph").gates} == names["graph"] | {
        "speedup"
    }


@given(some.floats(0.1, 10), some.floats(0.05, 3), some.floats(0.05, 3))
def test_gain_and_loss_follow_their_definition(speedup: float, size: float, memory: float) -> None:
    one, original = graph(1.0, size, memory * 1000), graph(1.0, 1.0, 1000)
    figures = {"speedup": Figure(speedup, speedup * 0.9, speedup * 1.1, 5, "×"), **gain.cuts(one, original)}
    found = gain.balance(figures, one, original)
    slack = requirements.shipped()["loss"]["memory_slack_bytes"] / 1e9
    enough = speedup >= 1.2 or size <= 0.55 or memory <= 0.7
    assert found["gain"].value is not None and found["loss"].value is not None
    assert (found["gain"].value >= 1) is enough or abs(found["gain"].value - 1) < 1e-4
    assert found["loss"].value == pytest.approx(
        max(0.0, 1 / speedup - 1, size - 1, memory - 1 - slack), abs=1e-5
    )
    assert found["gain"].low is not None and found["gain"].low <= found["gain"].value


@pytest.mark.parametrize("speedup", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speedup_that_is_none_is_neither_gain_nor_loss(speedup: float) -> None:
    figures = {"speedup": Figure(speedup, n=5, unit="×"), **gain.cuts(ORIGINAL, ORIGINAL)}
    found = gain.balance(figures, ORIGINAL, ORIGINAL)
    assert found["gain"].value is None and found["loss"].value is None and found["gain"].reason


def test_memory_beside_an_original_that_adds_none_is_a_loss() -> None:
    assert failing(graph(5.0, 3.0, 5000.0, 5000.0), graph(10.0, 12.0, 90.0, 0.0)) == ["loss"]
