"""The choice by weights, ties to the smaller, and the nearest miss."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.core.figure import Figure
from edgehone.decision.choice import Gap, band, choose, gap, indifference
from edgehone.decision.decision import Candidate
from edgehone.decision.fallback import nearest
from edgehone.decision.gates import Verdict
from tests.decision.timed import timed

QUALITY = {"quality": 1.0}
WEIGHTS = {"speed": 1.0, "quality": 8.0, "memory": 0.3, "size": 0.1}


def about(value: float, share: float = 0.01, unit: str = "") -> Figure:
    return Figure(value, value * (1 - share), value * (1 + share), 5, unit)


def candidate(
    key: str, latency: float = 100.0, memory: float = 1e8, size: int = 50_000_000, kept: float = 0.99
) -> Candidate:
    figures = {
        "workload_latency_ms": about(latency),
        "peak_memory_bytes": Figure(memory),
        "accuracy_kept": about(kept, 0.001),
        "kl_mean": about(0.002),
        "speedup": about(300 / latency),
        "memory_cut": Figure(0.71),
    }
    return Candidate(key, key.partition("/")[0], {}, bytes=size, figures=figures)


def divergent(key: str, kl: float, size: int) -> Candidate:
    """A candidate with all of the accuracy."""
    plain = candidate(key, size=size)
    return replace(plain, figures={**plain.figures, "kl_mean": Figure(kl), "accuracy_kept": Figure(1.0)})


def verdict(gate: str, margin: float | None) -> Verdict:
    ok = margin is not None and margin >= 0
    return Verdict(gate, gate, ok, ">=", 1.0, "low", 1.0, None, None, margin, f"{gate} because")


def test_the_faster_wins_and_the_reason_says_by_what() -> None:
    got = choose([candidate("a/slow", 150.0), candidate("b/fast", 100.0)], WEIGHTS)
    assert got is not None
    assert got.key == "b/fast"
    assert got.reason == (
        "b/fast: 3× faster than the original (2.97–3.03), 71 % less memory, keeps 99.0 % (98.9–99.1) of its "
        "accuracy; beats a/slow (100 ms against 150 ms on the workload) by the workload's weights."
    )
    assert got.scores["b/fast"].value == pytest.approx(0.0)
    assert got.scores["a/slow"].value == pytest.approx(math.log(100 / 150))


def test_quality_outweighs_a_little_speed() -> None:
    got = choose([candidate("a/fast", 95.0, kept=0.96), candidate("b/good", 100.0, kept=0.995)], WEIGHTS)
    assert got is not None
    assert got.key == "b/good"


def test_ties_go_to_the_smaller() -> None:
    got = choose([candidate("a/fast", 99.5, size=52_000_000), candidate("b/small", 100.0)], WEIGHTS)
    assert got is not None
    assert got.key == "b/small"
    assert "chosen as the smaller (50.0 MB against 52.0 MB)" in got.reason


def test_of_ties_of_one_size_the_better_wins() -> None:
    got = choose(
        [candidate("a/plain", 100.0, size=50_000_000), candidate("b/better", 99.5, size=50_010_000)], WEIGHTS
    )
    assert got is not None
    assert got.key == "b/better"
    assert "of the same size" in got.reason


def test_the_order_they_come_in_changes_nothing() -> None:
    pair = [candidate("a/one"), candidate("b/two")]
    one, two = choose(pair, WEIGHTS), choose(pair[::-1], WEIGHTS)
    assert one == two
    assert one is not None
    assert one.key == "a/one"


def test_only_those_that_pass_compete() -> None:
    fast = replace(candidate("a/fast", 10.0), verdicts=(verdict("accuracy_kept", -0.1),))
    broken = replace(candidate("c/broken", 1.0), status="failed", error="out of memory")
    got = choose([fast, broken, candidate("b/slow", 100.0)], WEIGHTS)
    assert got is not None
    assert got.key == "b/slow"
    assert "no other candidate passes" in got.reason
    assert choose([fast, broken], WEIGHTS) is None


def without(one: Candidate, *names: str) -> Candidate:
    missing = {name: Figure.missing("this driver does not tell") for name in names}
    return replace(one, figures={**one.figures, **missing})


def test_a_much_faster_candidate_on_an_accelerator_wins_without_a_memory_figure() -> None:
    gpu = without(candidate("b/int4@GPU.0", 2.0), "peak_memory_bytes", "memory_cut")
    got = choose([candidate("a/int4"), gpu], WEIGHTS)
    assert got is not None
    assert got.key == "b/int4@GPU.0"
    assert "beats a/int4 (2 ms against 100 ms on the workload)" in got.reason
    assert "memory was not measured for b/int4@GPU.0 and counts as the worst that was measured" in got.reason


def test_a_missing_objective_counts_as_the_worst_of_the_candidates_and_the_original() -> None:
    gpu = without(candidate("b/gpu"), "peak_memory_bytes")
    measured = [candidate("a/lean", memory=1e8), candidate("c/fat", memory=3e8)]
    got = choose([gpu, *measured], {"memory": 1.0})
    assert got is not None
    assert got.scores["b/gpu"].value == pytest.approx(math.log(1 / 3))
    larger = choose([gpu, *measured], {"memory": 1.0}, candidate("pytorch/original", memory=8e8))
    assert larger is not None
    assert larger.scores["b/gpu"].value == pytest.approx(math.log(1 / 8))
    smaller = choose([gpu, *measured], {"memory": 1.0}, candidate("pytorch/original", memory=1e6))
    assert smaller is not None
    assert smaller.scores == got.scores


FIGURES_OF = {
    "memory": ("peak_memory_bytes",),
    "quality": ("accuracy_kept", "kl_mean"),
    "speed": ("workload_latency_ms",),
}


@given(
    some.lists(
        some.tuples(some.floats(1, 1e3), some.floats(1e6, 1e9), some.floats(0.5, 1)), min_size=2, max_size=5
    ),
    some.sampled_from(sorted(FIGURES_OF)),
    some.booleans(),
)
def test_a_figure_never_wins_by_being_missing(
    rows: list[tuple[float, float, float]], name: str, known_original: bool
) -> None:
    """Whoever wins without a figure would also win with any that was measured of another or of the original."""
    measured = [candidate(f"a/{i}", *row[:2], kept=row[2]) for i, row in enumerate(rows)]
    lacking = without(measured[0], *FIGURES_OF[name])
    original = candidate("pytorch/original", 300, 5e8, kept=1.0) if known_original else None
    got = choose([lacking, *measured[1:]], WEIGHTS, original)
    assert got is not None
    if name == "speed":
        assert got.key != lacking.key
        assert f"{lacking.key} not compared, since speed was not measured" in got.reason
        return
    assert f"{name} was not measured for {lacking.key} and counts as the worst" in got.reason
    others = [*measured[1:], *([original] if original else [])]
    figures = [{n: one.figures[n] for n in FIGURES_OF[name]} for one in others]
    scores = []
    for known in figures:
        full = choose([replace(lacking, figures={**lacking.figures, **known}), *measured[1:]], WEIGHTS)
        assert full is not None
        best_other = max(full.scores[one.key].value or 0.0 for one in measured[1:])
        scores.append((full.scores[lacking.key].value or 0.0) - best_other)
    ahead = (got.scores[lacking.key].value or 0.0) - max(
        got.scores[one.key].value or 0.0 for one in measured[1:]
    )
    assert ahead <= min(scores) + 1e-9


def test_of_equals_the_measured_one_wins() -> None:
    got = choose([without(candidate("a/gpu"), "peak_memory_bytes"), candidate("b/cpu")], WEIGHTS)
    assert got is not None
    assert got.key == "b/cpu"


def test_many_candidates_without_a_figure_are_counted_not_named() -> None:
    lacking = [without(candidate(f"b/{i}"), "peak_memory_bytes") for i in range(7)]
    got = choose([candidate("a/cpu", 1.0), *lacking], WEIGHTS)
    assert got is not None
    assert "memory was not measured for 7 candidates and counts as the worst" in got.reason


def test_an_objective_without_weight_is_not_asked_for() -> None:
    lacking = without(candidate("a/fast", 10.0), "peak_memory_bytes")
    free = choose([lacking, candidate("b/slow")], {**WEIGHTS, "memory": 0.0})
    assert free is not None
    assert free.key == "a/fast"
    assert "not measured" not in free.reason


def test_an_objective_that_all_lack_is_left_out_and_named() -> None:
    both = [candidate("a/fast", 10.0), candidate("b/slow")]
    lacking = [replace(c, figures={**c.figures, "peak_memory_bytes": Figure.missing("x")}) for c in both]
    got = choose(lacking, WEIGHTS)
    assert got is not None
    assert got.key == "a/fast"
    assert "memory could not be compared" in got.reason


def test_the_nearest_is_the_one_with_the_smallest_worst_shortfall() -> None:
    far = replace(candidate("a/far"), verdicts=(verdict("speedup", -0.5), verdict("memory_cut", 0.1)))
    near = replace(candidate("b/near"), verdicts=(verdict("speedup", -0.1), verdict("memory_cut", -0.2)))
    unknown = replace(candidate("c/unknown"), verdicts=(verdict("speedup", None),))
    found = nearest([far, unknown, near])
    assert found is not None
    assert found[0].key == "b/near"
    assert [failed.gate for failed in found[1]] == ["memory_cut", "speedup"]
    only = nearest([unknown])
    assert only is not None
    assert only[1][0].margin is None
    assert nearest([replace(far, status="failed")]) is None


def test_of_equal_worst_shortfalls_the_one_with_fewer_failing_gates_is_nearest() -> None:
    both = replace(candidate("a/both"), verdicts=(verdict("accuracy_kept", None), verdict("speedup", -0.1)))
    one = replace(candidate("b/one"), verdicts=(verdict("accuracy_kept", None), verdict("speedup", 0.1)))
    found = nearest([both, one])
    assert found is not None
    assert found[0].key == "b/one"


def test_predictions_are_compared_by_their_speedup() -> None:
    def predicted(key: str, latency: float, size: int) -> Candidate:
        one = candidate(key, size=size)
        figures = {
            **one.figures,
            "workload_latency_ms": Figure.prediction(latency, 3.0, "ms"),
            "speedup": Figure.prediction(300 / latency, 1.1, "×"),
        }
        return replace(one, figures=figures)

    # The latencies' errors overlap by far, which is the device's doing, not theirs.
    got = choose([predicted("a/small", 200.0, 40_000_000), predicted("b/fast", 100.0, 50_000_000)], WEIGHTS)
    assert got is not None
    assert got.key == "b/fast"


def chosen_of(*candidates: Candidate) -> str:
    got = choose(candidates, {"speed": 1.0, "size": 0.1})
    assert got is not None
    return got.key


def test_a_wide_interval_makes_no_tie() -> None:
    """The demo with speedup=off on a busy machine: 101.6 ms was chosen over 76.4 as the smaller."""
    slow = timed("b/small", [101.6, 60.0, 200.0, 80.0], size=9_000_000)
    fast = timed("a/fast", [76.4, 150.0, 50.0, 70.0], size=11_000_000)
    found = gap(fast, slow, [fast, slow], {"speed": 1.0, "size": 0.1})
    assert found is not None and found.is_open and not found.is_tie
    assert chosen_of(slow, fast) == "a/fast"


def test_the_same_holds_where_no_rounds_are_known() -> None:
    def wide(key: str, latency: float, size: int) -> Candidate:
        one = candidate(key, latency, size=size)
        return replace(one, figures={**one.figures, "workload_latency_ms": about(latency, 0.6, "ms")})

    assert chosen_of(wide("b/small", 101.6, 49_000_000), wide("a/fast", 76.4, 50_000_000)) == "a/fast"
    assert chosen_of(wide("b/small", 186.0, 49_000_000), wide("a/fast", 76.0, 50_000_000)) == "a/fast"


def test_a_candidate_of_better_quality_is_not_given_up_for_a_smaller_one_that_is_slower() -> None:
    """int4 at 167 ms and KL 1e-3 was chosen over int8 at 153 ms and KL 6e-5, on a quiet machine."""
    int4 = timed("openvino/int4", [167.0, 168.0, 166.0], size=60_000_000, kl=1e-3)
    int8 = timed("openvino/int8", [153.0, 150.0, 156.0], size=110_000_000, kl=6e-5)
    got = choose([int4, int8], WEIGHTS | {"size": 0.0})
    assert got is not None and got.key == "openvino/int8"


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_within_the_indifference_the_smaller_is_chosen(share: float) -> None:
    slower = 100.0 * (1 + share * indifference())
    small = timed("b/small", [slower, 1.2 * slower, 0.9 * slower], size=90_000_000)
    fast = timed("a/fast", [100.0, 120.0, 90.0], size=100_000_000)
    got = choose([small, fast], {"speed": 1.0})
    assert got is not None and got.key == "b/small" and set(got.tied) == {"a/fast", "b/small"}
    assert (
        "within what 3 % of speed is worth, and chosen as the smaller (90.0 MB against 100.0 MB)"
        in got.reason
    )


@pytest.mark.parametrize("share", [1.1, 2.0])
def test_beyond_the_indifference_the_faster_is_chosen(share: float) -> None:
    slower = 100.0 * (1 + share * indifference())
    small = timed("b/small", [slower, 1.2 * slower, 0.9 * slower], size=90_000_000)
    fast = timed("a/fast", [100.0, 120.0, 90.0], size=100_000_000)
    got = choose([small, fast], {"speed": 1.0})
    assert got is not None and got.key == "a/fast" and got.tied == ("a/fast",)
    assert "beats b/small (" in got.reason


def test_the_reason_says_that_the_rounds_do_not_separate_two() -> None:
    got = choose([timed("a", [90.0, 120.0, 100.0]), timed("b", [115.0, 95.0, 120.0])], {"speed": 1.0})
    assert got is not None and got.key == "a" and got.tied == ("a",)
    assert "better than b (" in got.reason and "but the rounds do not separate the two" in got.reason


def test_paired_rounds_separate_what_their_intervals_do_not() -> None:
    """Each round is up to twice as slow as another, for both."""
    slowness = [1.0, 2.0, 1.4, 1.7]
    fast, slow = timed("a", [100 * s for s in slowness]), timed("b", [110 * s for s in slowness], size=1)
    assert fast.figure("workload_latency_ms").ties(slow.figure("workload_latency_ms"))
    got = choose([slow, fast], {"speed": 1.0})
    assert got is not None and got.key == "a" and "beats b (" in got.reason


def test_paired_rounds_overrule_scores_of_other_rounds() -> None:
    """The better one was measured on, in rounds in which the machine was slower."""
    fast = timed("a", [90.0, 91.0, 89.0, *[120.0] * 9])
    slow = timed("b", [100.0, 101.0, 99.0])
    assert (fast.figure("workload_latency_ms").value or 0) > (slow.figure("workload_latency_ms").value or 0)
    got = choose([slow, fast], {"speed": 1.0})
    assert got is not None and got.key == "a" and got.tied == ("a",)
    assert (got.scores["a"].value or 0) < (got.scores["b"].value or 0)
    assert "beats b (" in got.reason


@given(some.floats(-1, 1), some.floats(0, 1), some.floats(0.001, 0.2))
def test_a_gap_is_a_tie_or_open_or_decided(value: float, half: float, within: float) -> None:
    found = Gap(value, value - half, value + half, within)
    assert not (found.is_tie and found.is_open)
    if found.is_tie:
        assert abs(value) <= within
    if not found.is_tie and not found.is_open:
        assert found.low > 0 or found.high < 0
    turned = Gap(-value, -value - half, -value + half, within)
    assert (turned.is_tie, turned.is_open) == (found.is_tie, found.is_open)


def test_the_band_is_what_the_indifference_is_worth_in_speed() -> None:
    once = math.log1p(indifference())
    assert band({"speed": 2.0, "quality": 8.0}) == pytest.approx(2 * once)
    assert band({"throughput": 3.0, "quality": 8.0}) == pytest.approx(3 * once)
    # Without either, the smallest weight keeps the band small.
    assert band({"quality": 8.0, "size": 0.1, "speed": 0.0}) == pytest.approx(0.1 * once)


def test_no_gap_without_the_speed_of_both() -> None:
    one, other = timed("a", [100.0, 101.0]), without(timed("b", [100.0, 101.0]), "workload_latency_ms")
    assert gap(one, other, [one, other], {"speed": 1.0}) is None
    assert gap(one, one, [one, other], {"speed": 1.0}) is not None


def test_quality_alone_is_the_best_quality() -> None:
    found = choose([divergent("a/small", 0.009, 1_000_000), divergent("b/large", 0.0002, 2_000_000)], QUALITY)
    assert found is not None and found.key == "b/large"


def test_of_equal_quality_the_smaller_is_chosen() -> None:
    found = choose([divergent("a/small", 0.0002, 1_000_000), divergent("b/large", 0.0, 2_000_000)], QUALITY)
    assert found is not None and found.key == "a/small"
    assert "within what 0.1 % of quality is worth" in found.reason
