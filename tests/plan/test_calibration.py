"""Calibration: shares from measurements, their scatter, and leave-one-out errors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgehone.core.figure import Figure
from edgehone.plan import calibration, roofline
from edgehone.plan.calibration import Observation
from edgehone.plan.roofline import Demand
from edgehone.plan.target import PredictionTarget

ASKED = Demand(150_000_000, 1.0, 0, 3e8, 3e8 * 256, 256, 128, 12)
HERE = PredictionTarget(
    "here",
    "cross_platform",
    ("avx2", "avx512_vnni"),
    2,
    None,
    Figure(40.0, unit="GB/s"),
    Figure(200.0, unit="GFLOP/s"),
    Figure.missing("none"),
    clock_ghz=2.6,
    last_cache=32 << 20,
)


def measured(backend: str, bits: float, share: float, asked: Demand = ASKED) -> Observation:
    """A candidate that reached `share` of the bandwidth and half of the compute."""
    size = asked.parameters * bits / 8
    rate = 0.5 * roofline.rate_of(roofline.precision_of(bits), HERE)
    found = calibration.observe(
        asked,
        backend,
        bits,
        size=size,
        decode=share * 40e9 / size,
        ttft_ms=1e3 * asked.prompt_operations / rate,
        here=HERE,
    )
    assert found
    return found


def test_an_observation_contains_the_shares_of_a_candidate() -> None:
    one = measured("llamacpp", 4.5, 0.6)
    assert (one.precision, one.call) == ("low", None)
    assert one.read == pytest.approx(0.6)
    assert one.compute == pytest.approx(0.5)
    small = measured("llamacpp", 4.5, 0.6, replace(ASKED, parameters=3_000_000))
    assert small.read is None  # it lay in the cache, and tells of the calls
    assert small.call == pytest.approx(small.token / 12)


def test_measured_shares_replace_shipped_ones() -> None:
    found = [measured("llamacpp", bits, share) for bits, share in ((4.5, 0.5), (4.9, 0.5), (5.5, 0.5))]
    shares = calibration.shares(found, "llamacpp", "low")
    assert shares.read == pytest.approx(0.5)
    assert shares.read_error == pytest.approx(1.25)  # never stated nearer than that
    assert shares.source == "measured here"
    wide = [measured("llamacpp", 4.5, share) for share in (0.2, 0.4, 0.8)]
    assert calibration.shares(wide, "llamacpp", "low").read_error > 2
    shipped = calibration.shares([], "llamacpp", "low")
    assert shipped.read == pytest.approx(0.62, abs=0.01)
    assert shipped.source == "shipped measurements"
    assert calibration.shares([], "of-a-plugin", "high").read_error >= 1.25
    # A candidate that was measured keeps its own share, with the scatter of all.
    own = calibration.shares(wide, "llamacpp", "low", wide[0])
    assert own.read == pytest.approx(0.2)
    assert own.read_error > 2


def test_leave_one_out_predicts_each_observation_from_the_others() -> None:
    same = [measured("llamacpp", bits, 0.5) for bits in (4.5, 4.9, 5.5)]
    assert calibration.leave_one_out(same, ASKED, HERE) == pytest.approx([1.0, 1.0, 1.0])
    two = [measured("llamacpp", 4.5, 0.4), measured("llamacpp", 4.9, 0.8)]
    assert calibration.leave_one_out(two, ASKED, HERE) == pytest.approx([2.0, 2.0])
    alone = [measured("llamacpp", 4.5, 0.4), measured("openvino", 4.5, 0.4)]
    assert calibration.leave_one_out(alone, ASKED, HERE) == []
    assert calibration.describe_errors([]) is None
    assert "factor of 1.50 (median) and 2.00 (worst)" in str(calibration.describe_errors([1.0, 2.0]))
