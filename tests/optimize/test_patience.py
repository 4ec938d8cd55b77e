"""Waiting for a machine that other programs keep busy: bounded, told, or refused."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from edgehone.core.errors import InputError, MachineBusy
from edgehone.optimize.patience import BUSY, Patience, WhenBusy, checked, described, unwatched

ROUND_SECONDS = 0.5


class Machine:
    """Other programs that take the given shares, one after another; the last one stays. A look takes half a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *shares: float | None) -> None:
        self.now, self.looks = 0.0, 0
        self._shares: Iterator[float | None] = iter(shares)
        self._last: float | None = None
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def others(self) -> Mapping[str, Any]:
        self.now += ROUND_SECONDS
        self.looks += 1
        self._last = next(self._shares, self._last)
        return {"share": self._last, "programs": [("cc1", 0.5)]}


def test_it_waits_until_other_programs_take_little(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, said = Machine(monkeypatch, BUSY + 0.3, BUSY + 0.1, BUSY - 0.1), list[str]()
    patience = Patience("wait", 60.0, machine.others)
    assert patience.wait(10.0, said.append)
    assert machine.looks == 3
    # The spoiled measurement and the two looks at a busy machine are gone.
    assert patience.left == pytest.approx(60 - 10 - 2 * ROUND_SECONDS)
    assert len(said) == 2
    assert said[0] == (
        f"waiting for a quiet machine: other programs take {(BUSY + 0.3) * 100:.0f} % of the processors (cc1 50 %); "
        "for at most 50 s more"
    )


def test_it_ends_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, said = Machine(monkeypatch, 1.0), list[str]()
    patience = Patience("wait", 5.0, machine.others)
    assert not patience.wait(1.0, said.append)
    assert machine.now == pytest.approx(4.0) and len(said) == 8
    assert not patience.wait(0.0, said.append)  # over all measurements, not for each
    assert machine.now == pytest.approx(4.0)


def test_measurements_that_are_spoiled_again_and_again_use_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bursts, which a look of half a second may miss."""
    patience = Patience("wait", 10.0, Machine(monkeypatch, 0.0).others)
    assert [patience.wait(3.0, lambda text: None) for _ in range(5)] == [True, True, True, False, False]


def test_an_unknown_share_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, None)
    assert Patience("wait", 10.0, machine.others).wait(1.0, lambda text: None)
    assert machine.looks == 1


def test_measure_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 1.0)
    assert not Patience("measure", 600.0, machine.others).wait(1.0, lambda text: None)
    assert machine.looks == 0


def test_stop_says_who_keeps_the_machine_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = Patience("stop", 600.0, Machine(monkeypatch, 0.93).others)
    with pytest.raises(MachineBusy) as raised:
        patience.wait(1.0, lambda text: None)
    assert raised.value.exit_code == 4
    told = "the machine is too busy to measure: other programs take 93 % of the processors (cc1 50 %)"
    assert raised.value.message == told
    assert raised.value.hint and "--when-busy wait" in raised.value.hint


def test_what_disturbed_a_measurement_is_what_was_seen_during_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time it is told, the others may have ended."""
    patience = Patience("measure", 0.0, Machine(monkeypatch, 0.01).others)
    told = "other programs take 87 % of the processors (cc1 50 %) while it was measured"
    assert patience.why(0.87) == told
    assert "other programs disturb it (cc1 50 %)" in patience.why(None)
    assert Patience("measure", 0.0, unwatched).why(None) == "other programs disturb it while it was measured"


def test_programs_are_named_with_their_shares() -> None:
    seen = {"share": 0.934, "programs": [("python3", 0.47), ("a b", 0.46)]}
    assert described(seen) == "other programs take 93 % of the processors (python3 47 %, a b 46 %)"
    assert described({"share": 0.5, "programs": []}) == "other programs take 50 % of the processors"


@pytest.mark.parametrize("mode", ["wait", "measure", "stop"])
def test_known_modes(mode: WhenBusy) -> None:
    assert checked(mode) == mode


def test_an_unknown_mode_names_the_nearest() -> None:
    with pytest.raises(InputError, match="--when-busy 'wiat' is unknown") as raised:
        checked("wiat")
    assert raised.value.hint and raised.value.hint.startswith("did you mean 'wait'?")
