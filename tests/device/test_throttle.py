from __future__ import annotations

import json
from pathlib import Path

from edgehone.device.throttle import Conditions, difference, read_conditions

CPU = "devices/system/cpu"


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def machine(root: Path, khz: int, throttles: int) -> Conditions:
    files = {
        "class/thermal/thermal_zone0/temp": "54321\n",
        "class/thermal/thermal_zone0/type": "cpu-thermal\n",
    }
    for number in (0, 1, 10):
        files[f"{CPU}/cpu{number}/cpufreq/scaling_cur_freq"] = f"{khz + number}\n"
        files[f"{CPU}/cpu{number}/cpufreq/scaling_governor"] = "powersave\n"
        files[f"{CPU}/cpu{number}/thermal_throttle/core_throttle_count"] = f"{throttles}\n"
        files[f"{CPU}/cpu{number}/thermal_throttle/package_throttle_count"] = "7\n"
    tree(root / "proc", {"loadavg": "0.50 0.25 0.10 1/99 123\n"})
    return read_conditions(tree(root / "sys", files), root / "proc")


def test_a_machine_with_all_conditions(tmp_path: Path) -> None:
    now = machine(tmp_path, 2_000_000, 1)
    assert now.frequencies_mhz == (2000.0, 2000.001, 2000.01)  # cores in the order of their numbers
    assert (now.core_throttle_count, now.package_throttle_count) == (3, 7)
    assert now.temperatures_c == {"thermal_zone0 cpu-thermal": 54.321}
    assert (now.governors, now.load, now.reasons) == (("powersave",), (0.5, 0.25, 0.1), {})
    json.dumps(now.to_json())


def test_unknown_conditions_have_reasons(tmp_path: Path) -> None:
    now = read_conditions(tmp_path / "sys", tmp_path / "proc")
    silent = {name for name, value in now.to_json().items() if value is None}
    assert silent == now.reasons.keys()
    assert len(silent) == 6 and now.mean_mhz is None


def test_frequency_from_cpuinfo(tmp_path: Path) -> None:
    tree(tmp_path, {"cpuinfo": "processor : 0\nflags : avx2\ncpu MHz : 2599.9\n"})
    assert read_conditions(tmp_path / "sys", tmp_path).frequencies_mhz == (2599.9,)


def test_a_sensor_with_invalid_content_is_skipped(tmp_path: Path) -> None:
    tree(tmp_path, {"class/thermal/thermal_zone0/temp": "N/A\n"})
    assert read_conditions(tmp_path, tmp_path).temperatures_c is None


def test_difference(tmp_path: Path) -> None:
    before = machine(tmp_path / "before", 2_000_000, 1)
    change = difference(before, machine(tmp_path / "after", 1_000_000, 2))
    assert (change.throttled, change.core_throttles, change.package_throttles) == (True, 3, 0)
    assert change.frequency_change is not None and abs(change.frequency_change + 0.5) < 1e-3
    assert change.warmest_c == 54.321
    assert difference(before, before).throttled is False
    json.dumps(change.to_json())


def test_the_difference_of_unknown_conditions_is_unknown(tmp_path: Path) -> None:
    nothing = read_conditions(tmp_path, tmp_path)
    change = difference(nothing, nothing)
    assert change.throttled is change.frequency_change is change.warmest_c is None
    assert "core_throttle_count" in change.reasons


def test_this_machine() -> None:
    now = read_conditions()
    assert difference(now, read_conditions()).throttled in (None, False, True)
