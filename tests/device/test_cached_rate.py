"""Cached rates: kept for good from an idle machine, measured again after a busy one, never replaced by a lower one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.core.figure import Figure
from edgehone.device import cached_rate as module
from edgehone.device.busy import Busy
from edgehone.device.cached_rate import cached_rate, read_cached
from edgehone.device.facts import Device

MACHINE = Device("x86_64", "Linux", "3.11", 4, physical_cores=2)


class Machine:
    """A clock, the share of the processors that others use, and the rate that a measurement would find."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        self.cache, self.now, self.others, self.total, self.measured = cache, 1000.0, 0.0, 0.0, 0
        monkeypatch.setattr(module, "read_busy", self._busy)
        monkeypatch.setattr("time.time", lambda: self.now)

    def _busy(self) -> Busy:
        self.total += 10.0
        return Busy(self.total * self.others, 0.0, self.total)

    def rate(self, found: float | None, *, fresh: bool = False) -> float | None:
        def measure() -> Figure:
            self.measured += 1
            return Figure.missing("no memory", "GB/s") if found is None else Figure(found, unit="GB/s")

        return cached_rate(MACHINE, self.cache, measure, fresh=fresh).value


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


def test_the_rate_of_an_idle_machine_is_kept_for_good(machine: Machine) -> None:
    assert machine.rate(32.0) == 32.0
    machine.now += 1e8
    assert machine.rate(99.0) == 32.0
    assert machine.rate(30.0, fresh=True) == 30.0


def test_the_rate_of_a_busy_machine_is_measured_again_after_a_while(machine: Machine) -> None:
    machine.others = 0.6
    assert machine.rate(13.0) == 13.0
    machine.now += module.BUSY_SECONDS - 1
    assert machine.rate(32.0) == 13.0
    machine.now += 2
    machine.others = 0.0
    assert machine.rate(32.0) == 32.0
    machine.now += 1e8
    assert machine.rate(13.0) == 32.0
    assert machine.measured == 2


def test_a_slower_measurement_does_not_replace_a_faster_one(machine: Machine) -> None:
    machine.others = 0.6
    assert machine.rate(20.0) == 20.0
    machine.now += module.BUSY_SECONDS + 1
    assert machine.rate(13.0) == 20.0
    machine.now += module.BUSY_SECONDS + 1
    assert machine.rate(None) == 20.0
    cached = read_cached(MACHINE, machine.cache)
    assert cached is not None and cached.value == 20.0


def test_a_clock_that_was_set_back_does_not_keep_a_busy_rate(machine: Machine) -> None:
    machine.others = 0.6
    machine.rate(13.0)
    machine.now = 10.0
    assert machine.rate(32.0) == 32.0


def test_what_could_not_be_measured_is_not_stored(machine: Machine) -> None:
    assert machine.rate(None) is None
    assert not list(machine.cache.iterdir())
    assert machine.rate(32.0) == 32.0


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"value": 1}{', '{"values": 1}', '{"value": 2, "busy_at": "x"}']
)
def test_a_damaged_file_is_measured_again(machine: Machine, content: str) -> None:
    (machine.cache / f"{MACHINE.fingerprint}.json").write_text(content)
    assert machine.rate(32.0) == 32.0


def test_a_file_of_an_earlier_version_is_read(machine: Machine) -> None:
    (machine.cache / f"{MACHINE.fingerprint}.json").write_text('{"value": 20.0, "n": 3, "unit": "GB/s"}')
    assert machine.rate(32.0) == 20.0
