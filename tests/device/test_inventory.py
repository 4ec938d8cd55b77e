from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from edgehone.device.inventory import read_inventory, read_linux

Tree = Callable[..., Path]


def test_unknown_values_have_reasons(tree: Tree, tmp_path: Path) -> None:
    around = read_linux(tree({}), tmp_path)
    silent = {name for name, value in dataclasses.asdict(around).items() if value is None}
    assert silent == {"cores", "accelerators", "power", "power_limits", "thermal"}
    assert silent <= around.reasons.keys() and all(around.reasons.values())
    json.dumps(around.to_json())


def test_the_hardware_digest_covers_accelerators_and_drivers(tree: Tree, tmp_path: Path) -> None:
    place = "sys/bus/pci/devices/0000:00:02.0"
    before = read_linux(tree({"sys/bus/pci/": ""}), tmp_path).hardware
    assert read_linux(tree({"sys/class/power_supply/AC/online": "1"}), tmp_path).hardware == before
    gpu = {f"{place}/class": "0x030000", f"{place}/vendor": "0x8086", f"{place}/device": "0x1"}
    found = read_linux(tree(gpu), tmp_path).hardware
    assert found != before
    # A driver that comes later makes another machine of it, for a runtime.
    assert read_linux(tree({"etc/OpenCL/vendors/intel.icd": ""}), tmp_path).hardware not in (before, found)


def test_this_machine(tmp_path: Path) -> None:
    around = read_inventory(tmp_path)
    assert around.storage is not None and around.storage.free_bytes > 0
    assert around.hardware == read_inventory(tmp_path).hardware
