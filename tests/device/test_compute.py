"""The float rate: measuring, caching and measuring again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.device import compute
from edgehone.device.facts import Device

pytestmark = pytest.mark.xdist_group("measures")

MACHINE = Device("x86_64", "Linux", "3.11", 4, physical_cores=2)


def test_the_rate_is_positive_and_proportional_to_the_cores() -> None:
    one, four = compute.measure(1, 0.05), compute.measure(4, 0.05)
    assert one.value is not None and four.value is not None
    assert 0 < one.value < four.value * 2
    assert one.unit == "GFLOP/s"
    assert one.n >= 1


def test_the_rate_is_cached_by_the_fingerprint(tmp_path: Path) -> None:
    first = compute.float_rate(MACHINE, tmp_path)
    assert compute.float_rate(MACHINE, tmp_path) == first
    [path] = tmp_path.iterdir()
    path.write_text("{broken")
    assert compute.float_rate(MACHINE, tmp_path).value is not None
