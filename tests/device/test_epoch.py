"""What rounds must have in common to be compared."""

from __future__ import annotations

import json
import platform
from datetime import date

import pytest

from edgehone.device import epoch
from edgehone.device.power import Power
from edgehone.device.throttle import Conditions


def test_it_names_day_kernel_governors_and_power(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "read_conditions", lambda: Conditions(governors=("powersave", "schedutil")))
    monkeypatch.setattr(epoch, "read_power", lambda root, reasons: Power("battery", 0.8, "Discharging"))
    found = epoch.epoch()
    assert found["kernel"] == platform.release()
    assert (found["governors"], found["power"]) == ("powersave, schedutil", "battery")
    assert found["date"] is not None and date.fromisoformat(found["date"])
    monkeypatch.setattr(epoch, "read_power", lambda root, reasons: Power("mains", 0.8, "Charging"))
    assert epoch.epoch() != found


def test_it_stays_the_same_on_this_machine_and_is_json() -> None:
    first = epoch.epoch()
    assert epoch.epoch() == first
    assert json.loads(json.dumps(first)) == first
