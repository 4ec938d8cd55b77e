"""What runtimes see: asked in workers, kept, explained by what the machine has."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgehone.backends import registry
from edgehone.backends.base import Backend, Needs
from edgehone.backends.shared.visible_devices import VisibleDevices
from edgehone.device.accelerators import Accelerator
from edgehone.device.detect import detect
from edgehone.device.facts import Device
from edgehone.device.inventory import (
    read_inventory,
)
from edgehone.device.inventory_facts import (
    Inventory,
)
from edgehone.optimize.device_visibility import unused_accelerators, visible_devices

MACHINE = Device(architecture="x86_64", os="Linux", python="3.11", threads=1)
NPU = Accelerator("npu", "Intel", "AI Boost", "0000:00:0b.0")
NONE = Inventory(accelerators=())


@pytest.fixture
def asked(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that counts how often the made-up runtime was asked."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("SEEING", str(tmp_path / "asked"))
    return tmp_path / "asked"


def backend(module: str, **more: Any) -> Backend:
    devices = importlib.import_module(module).devices if module else None
    return cast(Backend, SimpleNamespace(NEEDS=Needs(**more), **({"devices": devices} if devices else {})))


def sees(around: Inventory, *, fresh: bool = False, module: str = "seeingdevices") -> VisibleDevices:
    told: list[str] = []
    found = visible_devices(
        {"some": backend(module)}, MACHINE, around, lambda name, what: told.append(what), fresh=fresh
    )
    return found["some"]


def test_it_is_asked_once_for_a_machine_and_its_drivers(asked: Path) -> None:
    first = sees(NONE)
    assert [(one.id, one.kind, one.name) for one in first.accelerators] == [("GPU.0", "gpu", "Arc")]
    assert sees(NONE) == first and asked.read_text().count("asked") == 1
    sees(replace(NONE, drivers=("a newer one",)))
    assert asked.read_text().count("asked") == 2
    sees(NONE, fresh=True)
    assert asked.read_text().count("asked") == 3


def test_what_is_absent_is_explained_by_the_machine_first(asked: Path) -> None:
    npu, vulkan = sees(NONE).absent
    assert npu.reason == "no Intel NPU in this machine; no driver"
    assert vulkan.reason == "another build"  # anybody's GPU would do
    assert sees(Inventory(accelerators=None)).absent[0].reason == "no driver"


def test_hardware_that_a_runtime_does_not_see_is_noted(asked: Path) -> None:
    around = Inventory(accelerators=(NPU,))
    seen = {"some": sees(around)}
    assert unused_accelerators(seen, around) == [
        "some does not run on Intel AI Boost (0000:00:0b.0): NPU: no driver"
    ]
    assert unused_accelerators(seen, NONE) == []


def test_one_that_fails_or_answers_nonsense_is_a_reason(asked: Path) -> None:
    assert sees(NONE, module="blinddevices").reason == "RuntimeError: the driver is out of its mind"
    assert "did not return" in (sees(NONE, module="strangedevices").reason or "")


def test_nothing_is_installed_for_the_asking(asked: Path, own_home: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("some-package==1.0\n")
    with_env, mute = backend("seeingdevices", lock=lock), backend("")
    found = visible_devices({"other": with_env, "mute": mute}, MACHINE, NONE, lambda name, what: None)
    assert found.keys() == {"other"}  # who cannot be asked is left out
    assert "edgehone backends install other" in (found["other"].reason or "")
    assert not (own_home / "envs").exists()


@pytest.mark.real
def test_each_real_runtime_sees_the_processor(tmp_path: Path) -> None:
    found = visible_devices(registry.load_all(), detect(), read_inventory(tmp_path), lambda name, what: None)
    assert found.keys() == {"llamacpp", "mlx", "olive", "onnxruntime", "openvino", "pytorch"}
    for name, seen in found.items():
        assert seen.reason is None, (name, seen.reason)
        assert "cpu" in [one.kind for one in seen.devices], name
        assert all(one.reason for one in seen.absent)
    assert found["openvino"].devices[0].facts["capabilities"]
