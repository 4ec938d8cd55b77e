"""Intervals: known values and coverage."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st


@pytest.mark.parametrize(
    ("df", "known"),
    [(1, 12.706205), (2, 4.302653), (3, 3.182446), (5, 2.570582), (10, 2.228139), (23, 2.068658),
     (30, 2.042272), (120, 1.979930), (1000, 1.962339), (100000, 1.959988)],
)  # fmt: skip
def test_t_quantile_matches_the_tables(df: int, known: float) -> None:
    assert st.t_quantile(df) == pytest.approx(known, abs=2e-6)


def test_t_quantile_at_another_level() -> None:
    assert st.t_quantile(4, 0.995) == pytest.approx(4.604095, abs=2e-6)


@pytest.mark.parametrize(("df", "p"), [(0, 0.975), (3, 0.5), (3, 1.0)])
def test_t_quantile_refuses_what_has_none(df: int, p: float) -> None:
    with pytest.raises(ValueError, match="no t quantile"):
        st.t_quantile(df, p)


def test_mean_of_three() -> None:
    got = st.mean_interval([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert (got.value, got.n) == (2.0, 3)
    assert got.low == pytest.approx(2 - half, abs=1e-5)
    assert got.high == pytest.approx(2 + half, abs=1e-5)


def test_one_value_has_no_interval() -> None:
    assert st.mean_interval([5.0]) == st.Interval(5.0, None, None, 1)
    assert st.clustered_mean([1.0, 2.0], [7, 7]) == st.Interval(1.5, None, None, 1)


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        st.mean_interval([])


def test_clusters_of_one_value_give_the_plain_mean() -> None:
    values = [0.2, 0.5, 0.1, 0.9]
    plain, clustered = st.mean_interval(values), st.clustered_mean(values, range(4))
    assert clustered.value == pytest.approx(plain.value)
    assert clustered.low == pytest.approx(plain.low)


def test_copies_within_a_cluster_add_no_certainty() -> None:
    values = [0.2, 0.5, 0.1, 0.9]
    once = st.clustered_mean(values, range(4))
    often = st.clustered_mean(np.repeat(values, 50), np.repeat(np.arange(4), 50))
    assert often.low == pytest.approx(once.low)
    assert often.n == 4


def test_paired_ratio_is_tight_where_both_move_together() -> None:
    generator = np.random.default_rng(3)
    base = generator.uniform(1, 9, 400)
    got = st.clustered_ratio(0.9 * base, base, np.repeat(np.arange(20), 20))
    assert got.value == pytest.approx(0.9)
    assert got.low == pytest.approx(0.9)


def test_ratio_refuses_zero_and_unequal_sizes() -> None:
    with pytest.raises(ValueError, match="sum to 0"):
        st.clustered_ratio([1.0, 1.0], [0.0, 0.0], [0, 1])
    with pytest.raises(ValueError, match="sizes differ"):
        st.clustered_ratio([1.0], [1.0, 2.0], [0, 1])


def test_clustered_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(11)
    clusters = np.repeat(np.arange(16), 30)
    hits = 0
    for _ in range(600):
        shift = generator.normal(0, 1, 16)[clusters]  # what the tokens of a window share
        got = st.clustered_mean(shift + generator.normal(0, 1, clusters.size), clusters)
        assert got.low is not None
        assert got.high is not None
        hits += got.low <= 0.0 <= got.high
    assert 0.92 <= hits / 600 <= 0.98


@pytest.mark.parametrize(("q", "needed"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662)])
def test_samples_that_a_percentile_needs(q: float, needed: int) -> None:
    assert st.percentile_needs(q) == needed


def test_median_by_order_statistics() -> None:
    got = st.quantile_interval(np.arange(1.0, 101.0), 0.5)
    assert got.value == pytest.approx(50.5)
    assert (got.low, got.high) == (40.0, 61.0)  # the textbook ranks for n = 100


def test_too_few_values_bound_no_high_quantile() -> None:
    got = st.quantile_interval(np.arange(20.0), 0.99)
    assert got.high is None
    assert got.low is not None


def test_order_statistics_cover_the_truth() -> None:
    generator = np.random.default_rng(5)
    truth = -math.log(0.05)  # p95 of the exponential law
    hits = 0
    for _ in range(400):
        got = st.quantile_interval(generator.exponential(size=300), 0.95)
        assert got.low is not None
        assert got.high is not None
        hits += got.low <= truth <= got.high
    assert hits / 400 >= 0.93


def test_clustered_quantile_is_repeatable_and_wider_than_one_that_ignores_clusters() -> None:
    generator = np.random.default_rng(5)
    clusters = np.repeat(np.arange(10), 80)
    values = generator.exponential(size=10)[clusters] + 0.01 * generator.exponential(size=800)
    one, two = (st.quantile_interval(values, 0.9, clusters) for _ in range(2))
    plain = st.quantile_interval(values, 0.9)
    assert one == two
    assert one.n == 10
    assert None not in (one.low, one.high, plain.low, plain.high)
    assert one.high - one.low > plain.high - plain.low  # type: ignore[operator]


def test_only_rounds_count_as_independent_samples() -> None:
    rounds = [[10.0, 10.0, 99.0], [12.0], [11.0, 11.0]]
    got = st.rounds_interval(rounds)
    assert got.value == pytest.approx((10.0 * 12.0 * 11.0) ** (1 / 3))
    assert got.n == 3
    rate = st.rounds_interval([[1 / value for value in one] for one in rounds])
    assert rate.low is not None and got.high is not None
    assert rate.value == pytest.approx(1 / got.value) and rate.low == pytest.approx(1 / got.high)
    noisy = st.rounds_interval([[6000.0], [700.0], [650.0]])
    assert noisy.low is not None and noisy.low > 0
    with pytest.raises(ValueError, match="not positive"):
        st.rounds_interval([[1.0], [0.0]])
    with pytest.raises(ValueError, match="without samples"):
        st.rounds_interval([[1.0], []])


def test_coefficient_of_variation() -> None:
    assert st.coefficient_of_variation([9.0, 11.0]) == pytest.approx(math.sqrt(2) / 10)
    assert st.coefficient_of_variation([9.0]) is None
    assert st.coefficient_of_variation([-1.0, 1.0]) is None


def test_wilson_share() -> None:
    got = st.share_interval(10, 10)
    assert (got.value, got.high) == (1.0, 1.0)
    assert got.low == pytest.approx(0.7225, abs=1e-4)


def test_ratio_of_figures() -> None:
    got = st.ratio_of(Figure(30.0, 29.0, 31.0, 5, "ms"), Figure(10.0, 9.9, 10.1, 4, "ms"), "×")
    assert got.value == pytest.approx(3.0)
    assert (got.n, got.unit) == (4, "×")
    assert got.low is not None
    assert got.high is not None
    assert 29 / 10.1 < got.low < 3.0 < got.high < 31 / 9.9  # narrower than the worst corners


def test_ratio_of_figures_that_lack_something() -> None:
    assert st.ratio_of(Figure.missing("no counter"), Figure(1.0)).reason == "no counter"
    assert st.ratio_of(Figure(1.0), Figure.missing("crashed")).reason == "crashed"
    assert st.ratio_of(Figure(2.0), Figure(0.0)).value is None
    assert st.ratio_of(Figure(2.0), Figure(1.0, -1.0, 3.0, 2)) == Figure(2.0, n=0)


@given(
    some.lists(some.tuples(some.floats(-1e6, 1e6), some.integers(0, 5)), min_size=1, max_size=60),
)
def test_intervals_hold_their_value(rows: list[tuple[float, int]]) -> None:
    values, clusters = zip(*rows, strict=True)
    for got in (
        st.mean_interval(values),
        st.clustered_mean(values, clusters),
        st.quantile_interval(values, 0.5),
    ):
        if got.low is not None:
            assert got.low <= got.value + 1e-6
        if got.high is not None:
            assert got.high >= got.value - 1e-6


ROUNDS, REQUESTS = 8, 40


def covered(q: float, between: float, interval: Callable[[list[list[float]]], st.Interval]) -> float:
    """Return how often an interval contains the q-quantile of requests whose process varies by `between`."""
    generator = np.random.default_rng(17)
    within = 0.02
    # The requests of all processes together are normal, as logarithms.
    truth = math.exp(NormalDist().inv_cdf(q) * math.hypot(within, between))
    hits, tries = 0, 400
    for _ in range(tries):
        shifts = generator.normal(0, between, ROUNDS)
        times = np.exp(shifts[:, None] + generator.normal(0, within, (ROUNDS, REQUESTS)))
        got = interval(times.tolist())
        assert got.low is not None and got.high is not None
        hits += got.low <= truth <= got.high
    return hits / tries


@pytest.mark.parametrize("q", [0.5, 0.95])
@pytest.mark.parametrize("between", [0.02, 0.04])
def test_intervals_of_percentiles_take_rounds_as_clusters(q: float, between: float) -> None:
    """Processes differ by 2 to 4 %; what is timed within one process is not independent."""
    assert covered(q, between, lambda rounds: st.quantile_of_rounds(rounds, q)) >= 0.9
    pooled = covered(q, between, lambda rounds: st.quantile_interval(np.ravel(rounds), q))
    assert pooled < 0.9


def test_a_quantile_of_rounds_has_the_value_of_all_requests_and_the_number_of_rounds() -> None:
    rounds = [[10.0 + place / 100 + number for place in range(40)] for number in range(4)]
    got = st.quantile_of_rounds(rounds, 0.5)
    assert got.value == pytest.approx(float(np.quantile(np.ravel(rounds), 0.5)))
    assert got.n == 4 and got.low is not None and got.high is not None
    assert got.low < got.value < got.high


def test_a_quantile_of_one_round_has_no_interval() -> None:
    assert st.quantile_of_rounds([[1.0] * 100], 0.5) == st.Interval(1.0, None, None, 1)


def test_few_values_are_not_trimmed() -> None:
    values = [1.0, 2.0, 3.0, 9.0]
    assert st.trimmed_interval(values) == st.mean_interval(values)


def test_a_round_in_a_slow_minute_hardly_moves_a_trimmed_mean() -> None:
    values = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0]
    found, slow = st.trimmed_interval(values), st.trimmed_interval([*values, 5.0])
    assert slow.value == pytest.approx(found.value, abs=0.01)
    assert slow.low is not None and slow.high is not None and slow.high - slow.low < 0.1
    plain = st.mean_interval([*values, 5.0])
    assert plain.low is not None and plain.high is not None and plain.high - plain.low > 1


@pytest.mark.parametrize("n", [3, 5, 8, 16])
def test_trimmed_intervals_cover_the_truth(n: int) -> None:
    generator = np.random.default_rng(23)
    hits = 0
    for _ in range(600):
        got = st.trimmed_interval(generator.normal(2.0, 0.3, n))
        assert got.low is not None and got.high is not None
        hits += got.low <= 2.0 <= got.high
    assert 0.92 <= hits / 600 <= 0.98
