"""Disruptions of the clocks."""

from __future__ import annotations

import pytest

from edgehone.device.clocks import jump, read_clocks

START = {"wall": 1.7e9, "running": 500.0, "since_boot": 700.0, "raw": 499.0}


def after(**seconds: float) -> dict[str, float]:
    return {name: START[name] + seconds.get(name, 10.0) for name in START}


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        ({}, None),
        ({"raw": 10.004, "wall": 10.1}, None),  # a slow correction, and clocks read one after the other
        ({"since_boot": 3610.0, "wall": 3610.0}, "slept for 3600.0 s"),
        ({"wall": 3610.0}, "set by +3600.0 s"),
        ({"wall": -110.0}, "set by -120.0 s"),
        ({"raw": 10.5}, "rate was being corrected by -4.8%"),
    ],
)
def test_disruptions_of_the_clocks_are_described(moved: dict[str, float], said: str | None) -> None:
    found = jump(START, after(**moved))
    assert said in (found or "") if said else found is None


def test_disruptions_are_detected_with_fewer_clocks() -> None:
    few = {"wall": 0.0, "running": 0.0}
    assert jump(few, {"wall": 100.0, "running": 10.0}) == "the wall clock was set by +90.0 s"
    assert jump({}, {}) is None


def test_no_disruption_is_reported_on_an_undisturbed_machine() -> None:
    before = read_clocks()
    assert {"wall", "running"} <= before.keys()
    assert jump(before, read_clocks()) is None
