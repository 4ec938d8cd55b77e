"""What the benchmark of serving computes from answers."""

from __future__ import annotations

import math

from benchmarks.serving.capacity import _table
from edgehone.serve.load.client import Answered
from edgehone.serve.load.loads import quantile, windows


def answers(count: int, seconds: float, status: int = 200) -> list[Answered]:
    return [Answered(status, 1, 0.0, seconds / 2, seconds) for _ in range(count)]


def test_quantiles() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(100)], 0.99) == 99.0
    assert math.isnan(quantile([], 0.5))


def test_windows_differ_in_their_beginning() -> None:
    found = windows("".join(map(chr, range(300, 1300))), 100)
    some = [next(found) for _ in range(20)]
    assert len({one[:20] for one in some}) == 20 and {len(one) for one in some} == {100}


def test_goals_of_a_server_past_its_capacity() -> None:
    well = answers(100, 1.0)
    health = answers(10, 0.001)
    _, missed = _table(10.0, well, [*answers(100, 1.4), *answers(100, 0.002, 429)], 1.0, health)
    assert missed == []
    _, missed = _table(10.0, well, [*answers(99, 1.6), *answers(1, 1.0, 503)], 1.2, answers(10, 0.2))
    assert [one.split()[0] for one in missed] == ["statuses", "p99", "no", "refused", "memory", "/healthz"]
