"""Speed: figures of given rounds, and one round with a fake session."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.sessions import (
    Generation,
    WorkerJob,
)
from edgehone.core.errors import EdgehoneError
from edgehone.core.figure import Figure
from edgehone.evaluation import speed
from edgehone.evaluation.speed import Request
from edgehone.worker import speed as worker_speed

FAKE = "fake_speed_backend"


def one_round(count: int = 3, ttft: float = 0.1, total: float = 0.5, **more: Any) -> dict[str, Any]:
    return {"cold": False, "load": 1.0, "requests": [{"ttft": ttft, "total": total}] * count, **more}


def test_figures_of_steady_rounds() -> None:
    found = speed.figures([one_round(), one_round(), one_round()], Request(50, 5))
    ttft = found["ttft_ms"]
    assert (ttft.value, ttft.low, ttft.high) == pytest.approx((100, 100, 100))
    assert (ttft.n, ttft.unit) == (3, "ms")
    assert found["workload_latency_ms"].value == pytest.approx(500)
    assert found["prefill_tokens_per_s"].value == pytest.approx(500)
    assert found["decode_tokens_per_s"].value == pytest.approx(4 / 0.4)  # the tokens after the first
    assert found["latency_cv"].value == pytest.approx(0.0) and found["latency_cv"].n == 9
    assert speed.is_steady(found["workload_latency_ms"])


def test_rounds_are_the_samples_and_a_rounds_median_counts() -> None:
    disturbed = one_round()
    disturbed["requests"] = [*disturbed["requests"], {"ttft": 0.1, "total": 50.0}]
    found = speed.figures([one_round(), one_round(total=0.7), disturbed], Request(50, 5))[
        "workload_latency_ms"
    ]
    assert found.n == 3
    assert found.value == pytest.approx((500 * 700 * 500) ** (1 / 3))
    assert found.low is not None and found.high is not None and found.low < 500 and found.high > 700
    assert not speed.is_steady(found)


def test_one_round_has_values_and_no_interval() -> None:
    found = speed.figures([one_round()], Request(50, 5))["workload_latency_ms"]
    assert found.value is not None and found.low is None and found.high is None and found.n == 1
    assert not speed.is_steady(found)


@pytest.mark.parametrize("requests", [3, 129])
def test_a_percentile_of_too_few_requests_is_missing_and_says_how_many_it_takes(requests: int) -> None:
    found = speed.figures([one_round(requests)], Request(50, 5))
    for name, needed in {"latency_p95_ms": 130, "latency_p99_ms": 662}.items():
        assert found[name].value is None
        assert found[name].reason == f"{requests} requests were timed; {name[8:11]} needs {needed}"


def test_percentiles_of_many_requests() -> None:
    requests = [{"ttft": 0.001, "total": total / 1000} for total in range(1, 701)]
    found = speed.figures([one_round(requests=requests)], Request(50, 5))
    assert found["latency_p50_ms"].value == pytest.approx(350, abs=1)
    assert found["latency_p95_ms"].value == pytest.approx(665, abs=1)
    assert found["latency_p99_ms"].value == pytest.approx(693, abs=1)


def test_cold_and_warm_starts_are_separate_figures() -> None:
    found = speed.figures(
        [one_round(cold=True, load=9.0), one_round(load=2.0), one_round(load=4.0)], Request(50, 5)
    )
    assert found["load_cold_ms"] == Figure(9000.0, n=1, unit="ms")
    assert found["load_warm_ms"].value == pytest.approx(3000) and found["load_warm_ms"].n == 2
    only_cold = speed.figures([one_round(cold=True)], Request(50, 5))
    assert only_cold["load_warm_ms"] == Figure.missing("no round started this way", "ms")


def test_one_token_has_no_decode_rate() -> None:
    found = speed.figures([one_round(total=0.1)], Request(50, 1))["decode_tokens_per_s"]
    assert found.value is None and found.reason == "the workload generates fewer than two tokens"


def test_tokens_that_come_all_at_once_have_no_decode_rate() -> None:
    found = speed.figures([one_round(ttft=0.5, total=0.5)], Request(50, 5))["decode_tokens_per_s"]
    assert found.value is None and found.reason and "at once" in found.reason


def test_one_request_tells_nothing_of_variation() -> None:
    assert speed.figures([one_round(1)], Request(50, 5))["latency_cv"].value is None


@pytest.mark.parametrize(
    ("figure", "steady"),
    [
        (Figure(100.0, 97.0, 103.0, 4), True),
        (Figure(100.0, 96.9, 103.1, 4), False),
        (Figure(100.0, None, None, 1), False),
        (Figure.missing("not measured"), False),
    ],
)
def test_steady_is_three_per_cent_either_way(figure: Figure, steady: bool) -> None:
    assert speed.is_steady(figure) is steady


def test_the_disturbance_is_the_mean_share_that_others_took() -> None:
    def shared(share: float | None) -> dict[str, Any]:
        return one_round(conditions={"others_share": share})

    assert speed.disturbance([shared(0.1), shared(0.3), shared(None)]) == pytest.approx(0.2)
    assert speed.disturbance([shared(None)]) is None and speed.disturbance([]) is None


def test_a_cold_load_from_the_page_cache_is_no_figure() -> None:
    cached = "100% of the artifact stayed in the page cache"
    rounds = [one_round(cold=True, still_cached=cached), one_round(cold=False, still_cached=None)]
    found = speed.figures(rounds, Request(50, 11))
    assert found["load_cold_ms"].value is None and found["load_cold_ms"].reason == cached
    assert found["load_warm_ms"].value is not None


class FakeSession:
    """Generates `count + extra` tokens at the moments 0.1, 0.2, ... s."""

    extra = 0
    closed = 0
    asked = 0

    def generate(self, ids: list[int], count: int, on_token: object = None) -> Generation:
        FakeSession.asked += 1
        made = count + self.extra
        return Generation(10.0, [1] * made, [10.0 + (place + 1) / 10 for place in range(made)])

    def close(self) -> None:
        FakeSession.closed += 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WorkerJob]:
    module = types.ModuleType(FAKE)
    module.open_session = lambda artifact, settings, job: FakeSession()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, FAKE, module)
    for name in ("closed", "asked", "extra"):
        monkeypatch.setattr(FakeSession, name, 0)
    args = {"backend": FAKE, "settings": {}, "prompt": [1, 2], "generated": 4, "cold": True, "seconds": 0.0}
    yield WorkerJob(args, {"artifact": tmp_path}, tmp_path / "out", None, 1, lambda fraction, what: None)


def test_a_round_warms_up_then_times_whole_requests(fake: WorkerJob) -> None:
    facts = worker_speed.time_requests(fake)
    assert facts["cold"] is True
    assert len(facts["requests"]) == worker_speed.LEAST_TURNS
    assert FakeSession.asked == worker_speed.LEAST_TURNS + 1  # the first one after loading is apart
    assert FakeSession.closed == 1
    for request in facts["requests"]:
        assert request == {
            "ttft": pytest.approx(0.1),
            "total": pytest.approx(0.4),
            "delay": pytest.approx(0, abs=1),
        }
    assert facts["load"] >= 0 and math.isfinite(facts["load"])
    assert "conditions" in facts


@pytest.mark.parametrize(
    ("token", "timed", "asked"),
    [
        (0.1, worker_speed.LEAST_TURNS, worker_speed.LEAST_TURNS + 1),
        (1.0, worker_speed.LEAST_TURNS, worker_speed.LEAST_TURNS + 1),
        (2.0, worker_speed.LONG_TURNS, worker_speed.LONG_TURNS + 1),
        (10.0, 1, 1),  # the only one of its round
    ],
)
def test_long_requests_are_fewer_and_their_time_is_predicted(
    fake: WorkerJob, monkeypatch: pytest.MonkeyPatch, token: float, timed: int, asked: int
) -> None:
    """Each request has four tokens, on a clock of its own."""
    now = [0.0]

    def generate(self: FakeSession, ids: list[int], count: int, on_token: object = None) -> Generation:
        FakeSession.asked += 1
        begun, now[0] = now[0], now[0] + count * token
        return Generation(begun, [1] * count, [begun + (place + 1) * token for place in range(count)])

    monkeypatch.setattr(FakeSession, "generate", generate)
    monkeypatch.setattr(
        FakeSession, "clock", types.SimpleNamespace(now=lambda: now[0], sleep=None), raising=False
    )
    facts = worker_speed.time_requests(fake)
    assert (len(facts["requests"]), FakeSession.asked) == (timed, asked)
    assert worker_speed.requests_seconds(4 * token, 0.0) == pytest.approx(now[0])


def test_short_requests_go_on_for_the_seconds_of_the_effort() -> None:
    assert worker_speed.requests_seconds(0.01, 0.3) == pytest.approx(0.31)


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_wrong_count_of_tokens_is_an_error(
    fake: WorkerJob, monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    monkeypatch.setattr(FakeSession, "extra", extra)
    with pytest.raises(EdgehoneError, match=f"asked for 4 tokens, got {4 + extra}"):
        worker_speed.time_requests(fake)


def cut_round(others: float, token: float = 0.01, count: int = 10) -> dict[str, Any]:
    """A round of requests of six tokens, each a piece; another program doubles every second one if there are others."""
    requests = []
    for number in range(count):
        waits = [token if others and (place + number) % 2 else 0.0 for place in range(6)]
        pieces = [[1, token + wait, wait] for wait in waits]
        requests.append({"ttft": pieces[0][1], "total": sum(piece[1] for piece in pieces), "pieces": pieces})
    return one_round(requests=requests, conditions={"others_share": others})


def test_requests_are_compared_undisturbed_and_reported_as_they_were() -> None:
    whole = [{"ttft": 0.1, "total": 0.5, "delay": 0.0}] * 10 + [
        {"ttft": 0.1, "total": 2.0, "delay": 1.5}
    ] * 20
    found = speed.figures([one_round(requests=whole, conditions={"others_share": 0.5})] * 3, Request(50, 5))
    assert found["workload_latency_ms"].value == pytest.approx(500)
    assert found["observed_latency_ms"].value == pytest.approx(2000)
    assert found["latency_p50_ms"].value == pytest.approx(2000)
    # Variation that others cause is not the candidate's.
    assert found["latency_cv"].value == pytest.approx(0.0)
    assert found["decode_tokens_per_s"].value == pytest.approx(4 / 0.4)


def test_variation_is_missing_where_all_requests_were_disturbed() -> None:
    found = speed.figures([cut_round(0.5)] * 3, Request(50, 5))["latency_cv"]
    assert found.value is None and found.reason == speed.ALL_DISTURBED
    assert speed.figures([cut_round(0.0)] * 3, Request(50, 5))["latency_cv"].value == pytest.approx(0.0)


def test_single_requests_vary_between_rounds() -> None:
    def of(totals: list[float], wait: float = 0.0) -> Any:
        pieces = [[[1, 0.1, wait * 0.1], [4, total - 0.1, wait * total]] for total in totals]
        rounds = [
            one_round(
                requests=[{"ttft": 0.1, "total": total, "pieces": each}], conditions={"others_share": 0.0}
            )
            for total, each in zip(totals, pieces, strict=True)
        ]
        return speed.figures(rounds, Request(50, 5))["latency_cv"]

    found = of([20.0, 22.0, 18.0])
    assert found.value == pytest.approx(0.1) and found.n == 3
    assert of([20.0]).reason == "one request per round has no variation"


def test_waiting_for_other_clients_is_part_of_a_request() -> None:
    """A low quantile would be that of the requests that need not wait."""
    requests = [{"ttft": 0.1, "total": total, "delay": 0.0} for total in (0.1, 0.2, 0.3, 0.4, 0.5)]
    found = speed.figures([one_round(requests=requests)] * 3, Request(50, 5, clients=5))
    assert found["workload_latency_ms"].value == pytest.approx(300)
    assert found["requests_per_s"].value == pytest.approx(5 / 0.3)


def request_after(wait: float) -> dict[str, Any]:
    return {"total": 1.0, "delay": wait, "pieces": [[1, 0.2, wait], [4, 0.8, 0.0]]}


@pytest.mark.parametrize(
    ("spent", "waits", "others", "goes_on"),
    [
        (0.9, [0.0] * 9, 0.0, True),  # its time is not over
        (1.1, [0.0] * 9, 0.9, False),  # enough began undisturbed
        (1.1, [0.2] * 9, 0.9, True),
        (1.1, [0.2] * 9, 0.0, False),  # nobody else is there: it waits for itself
        (1.1 * worker_speed.LONGEST, [0.2] * 9, 0.9, False),
    ],
)
def test_a_round_goes_on_for_a_while_until_requests_begin_undisturbed(
    monkeypatch: pytest.MonkeyPatch, spent: float, waits: list[float], others: float, goes_on: bool
) -> None:
    monkeypatch.setattr(worker_speed, "others_share", lambda before, after: others)
    turns = [[request_after(wait)] for wait in waits]
    assert worker_speed._goes_on(turns, spent, (1.0, worker_speed.LONGEST), None) is goes_on


def test_where_the_delay_is_unknown_a_round_is_no_longer() -> None:
    turns = [[{"total": 1.0, "delay": None}]] * worker_speed.LEAST_TURNS
    assert not worker_speed._goes_on(turns, 1.1, (1.0, worker_speed.LONGEST), None)
