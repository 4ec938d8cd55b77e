from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.device.power import Power, PowerLimit, parse_pmset, read_limits, read_power

SUPPLY = "sys/class/power_supply"
Tree = Callable[..., Path]


def laptop(online: str, status: str, capacity: str = "81") -> dict[str, str]:
    return {
        f"{SUPPLY}/AC/type": "Mains\n",
        f"{SUPPLY}/AC/online": online,
        f"{SUPPLY}/BAT0/type": "Battery\n",
        f"{SUPPLY}/BAT0/status": status,
        f"{SUPPLY}/BAT0/capacity": capacity,
    }


def test_a_laptop_with_and_without_its_charger(tree: Tree) -> None:
    assert read_power(tree(laptop("1\n", "Charging\n")), {}) == Power("mains", 0.81, "Charging")
    assert read_power(tree(laptop("0\n", "Discharging\n")), {}) == Power("battery", 0.81, "Discharging")


@pytest.mark.parametrize("capacity", ["", "N/A", "-3", "1000", "9" * 40, "8e1"])
def test_an_implausible_charge_is_unknown(tree: Tree, capacity: str) -> None:
    assert read_power(tree(laptop("0", "Discharging", capacity)), {}) == Power("battery", None, "Discharging")


def test_batteries_of_peripherals_are_ignored(tree: Tree) -> None:
    reasons: dict[str, str] = {}
    files = {
        f"{SUPPLY}/hidpp/type": "Battery",
        f"{SUPPLY}/hidpp/scope": "Device",
        f"{SUPPLY}/hidpp/status": "Full",
    }
    assert read_power(tree(files), reasons) is None
    assert "no power supply" in reasons["power"]


def test_a_battery_status_decides_the_source_without_a_listed_charger(tree: Tree) -> None:
    files = {f"{SUPPLY}/BAT0/type": "Battery", f"{SUPPLY}/BAT0/status": "Full"}
    assert read_power(tree(files), {}) == Power("mains", None, "Full")


def test_rapl(tree: Tree) -> None:
    zone = "sys/class/powercap/intel-rapl:0"
    files = {
        f"{zone}/name": "package-0\n",
        f"{zone}/constraint_0_name": "long_term\n",
        f"{zone}/constraint_0_power_limit_uw": "28000000\n",
        f"{zone}/constraint_0_time_window_us": "27983872\n",
        f"{zone}/constraint_1_power_limit_uw": "0\n",
    }
    assert read_limits(tree(files), {}) == (PowerLimit("package-0 long_term", 28.0, 27.983872),)


def test_missing_rapl_has_a_reason(tree: Tree) -> None:
    reasons: dict[str, str] = {}
    assert read_limits(tree({}), reasons) is None
    assert "RAPL" in reasons["power_limits"]


def test_pmset() -> None:
    said = "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t87%; discharging; 5:02 remaining\n"
    assert parse_pmset(said, {}) == Power("battery", 0.87, "discharging")
    assert parse_pmset("Now drawing from 'AC Power'\n", {}) == Power("mains")


@given(st.text())
def test_any_text_is_power_or_a_reason(said: str) -> None:
    reasons: dict[str, str] = {}
    assert parse_pmset(said, reasons) is None and reasons["power"]
