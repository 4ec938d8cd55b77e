"""The roofline: bottlenecks of tokens and prompts, propagation of errors, and errors against published rates."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.figure import Figure
from edgehone.device import catalogue
from edgehone.inputs import workload
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.plan import roofline
from edgehone.plan.roofline import Demand, Shares, Time
from edgehone.plan.target import PredictionTarget

CHAT = workload.load("chat")
SHARES = Shares(0.5, 1.25, 0.5, 1.25, 50e-6, "made up")
FAST = PredictionTarget(
    "fast",
    "intel",
    ("avx2",),
    4,
    None,
    Figure(100.0, unit="GB/s"),
    Figure(1000.0, unit="GFLOP/s"),
    Figure.missing("none"),
    clock_ghz=3.0,
    last_cache=8_000_000,
)


def asks(parameters: float = 1e9) -> Demand:
    return Demand(int(parameters), 1.0, 0, 2 * parameters, 2 * parameters * 256, 256, 128, 20)


def token(asked: Demand, size: float, target: PredictionTarget) -> Time:
    found = roofline.token_time(asked, "low", size, SHARES, target)
    assert isinstance(found, Time)
    return found


def test_the_slowest_bottleneck_determines_the_time() -> None:
    large = token(asks(), 5e8, FAST)
    assert large.bottleneck == "memory"
    assert large.seconds == pytest.approx(5e8 / 50e9)
    # A few MB on a device whose caches are not known: the calls bound it, however fast the memory is.
    small = token(asks(1e6), 1e6, replace(FAST, last_cache=None))
    assert small.bottleneck == "calls"
    assert small.seconds == pytest.approx(20 * 50e-6)
    weak = token(asks(), 5e8, replace(FAST, compute=Figure(10.0, unit="GFLOP/s")))
    assert weak.bottleneck == "compute"


def test_weights_in_the_cache_are_read_faster() -> None:
    shares = replace(SHARES, call=0.0)
    asked = asks(1e5)
    times = [
        roofline.token_time(asked, "low", 4e6, shares, replace(FAST, last_cache=cache))
        for cache in (7_000_000, 8_000_000)
    ]
    assert isinstance(times[0], Time) and isinstance(times[1], Time)
    assert times[0].seconds == pytest.approx(3 * times[1].seconds)


def test_a_prompt_takes_at_least_as_long_as_a_token() -> None:
    one = token(asks(), 5e8, FAST)
    prompt = roofline.prompt_time(asks(), "low", SHARES, FAST, one)
    assert isinstance(prompt, Time)
    assert prompt.bottleneck == "compute"
    assert prompt.seconds == pytest.approx(2e9 * 256 / (0.5 * 1000e9 * 1.5))
    short = replace(asks(), prompt_operations=2e9, prompt_tokens=1)
    assert roofline.prompt_time(short, "low", SHARES, FAST, one) == one


def test_values_missing_from_data_sheets_are_missing_with_a_reason() -> None:
    dark = replace(FAST, bandwidth=Figure.missing("not published", "GB/s"))
    found = roofline.token_time(asks(), "low", 5e8, SHARES, dark)
    assert isinstance(found, Figure)
    assert found.reason == "not published"
    slow = replace(FAST, compute=Figure.missing("unknown clock"))
    prompt = roofline.prompt_time(asks(), "low", SHARES, slow, token(asks(), 5e8, slow))
    assert isinstance(prompt, Figure)
    assert prompt.reason == "unknown clock"


@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(1, 9), st.floats(1, 9), st.integers(0, 1000))
def test_the_error_of_a_sum_lies_between_those_of_its_parts(
    first: float, second: float, own: float, device: float, count: int
) -> None:
    whole = Time(first, own, device, "compute").plus(Time(second, 1.5, 2.0, "memory"), count)
    assert whole.seconds == pytest.approx(first + count * second)
    assert min(own, 1.5) <= whole.runtime_error * 1.000001 and whole.runtime_error <= max(own, 1.5) * 1.000001
    figure = whole.figure("ms", 1e3)
    assert figure.predicted
    assert figure.low is not None and figure.high is not None and figure.value is not None
    assert figure.low <= figure.value <= figure.high


def test_what_a_token_reads(demo_model: Path) -> None:
    model = replace(inspect(demo_model), tied_embeddings=True)
    tied, untied = (
        roofline.workload_demand(replace(model, tied_embeddings=tied), CHAT) for tied in (True, False)
    )
    assert tied is not None and untied is not None
    assert tied.used == 1.0
    assert untied.used == pytest.approx(1 - 2048 * 256 / model.parameters)
    mixture = replace(
        model,
        parameters=10_000_000,
        experts=8,
        experts_per_token=2,
        intermediate_size=256,
        tied_embeddings=True,
    )
    asked = roofline.workload_demand(mixture, CHAT)
    assert asked is not None
    assert asked.used == pytest.approx(1 - 6 * 3 * 256 * 256 * 4 / 10_000_000)


def test_a_target_has_an_int8_gain_and_a_call_slowdown() -> None:
    devices = catalogue.shipped()
    assert PredictionTarget.from_catalogue(devices["raspberry-pi-4"]).int8_gain == 1.5
    assert PredictionTarget.from_catalogue(devices["raspberry-pi-5"]).int8_gain == 4.0
    assert PredictionTarget.from_catalogue(devices["apple-m2"]).int8_gain == 8.0
    pi = PredictionTarget.from_catalogue(devices["raspberry-pi-4"]).relative_to(FAST)
    assert pi.slower > 3.0 / 1.8
    assert pi.slower_error >= 1.35
    assert FAST.relative_to(FAST).slower == pytest.approx(1.0)
    unknown = replace(FAST, clock_ghz=None, compute=Figure.missing("?")).relative_to(FAST)
    assert unknown.slower_error > 1.5
    mac = PredictionTarget.from_catalogue(devices["apple-m2"])
    assert mac.for_backend("mlx").compute == mac.gpu
    assert mac.for_backend("llamacpp").compute == mac.compute
    server = PredictionTarget.from_catalogue(devices["edge-server-l4"])
    assert server.for_backend("llamacpp").compute == server.gpu


def test_published_rates_are_predicted_within_the_stated_error() -> None:
    told = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "predictions.py"))
    decodes = [one for one in told["misses"]() if one.what.endswith("decode")]
    assert len(decodes) >= 10
    assert median(one.factor for one in decodes) < 1.35
    assert sum(one.held for one in decodes) >= 0.8 * len(decodes)
    prefills = [one for one in told["misses"]() if one.what.endswith("prefill")]
    assert sum(one.held for one in prefills) >= 0.7 * len(prefills)


def test_mean_of_the_model(demo_model: Path) -> None:
    model: ModelInfo = inspect(demo_model)
    asked = roofline.workload_demand(model, CHAT)
    assert asked is not None
    assert asked.to_json()["layers"] == 4
    assert Demand(**asked.to_json()) == asked
