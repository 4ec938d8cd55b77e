from __future__ import annotations

from edgehone.backends.shared.visible_devices import AbsentDevice, RuntimeDevice, VisibleDevices
from edgehone.core.figure import Figure
from edgehone.device.accelerators import Accelerator
from edgehone.device.facts import Device
from edgehone.device.inventory_facts import (
    Inventory,
)
from edgehone.device.network import Interface, Network
from edgehone.device.power import Power, PowerLimit
from edgehone.device.storage import Storage
from edgehone.device.thermal import Trip, Zone
from edgehone.device.throttle import Conditions
from edgehone.report.device import rows

BARE = Device(architecture="riscv64", os="Linux", python="3.11", threads=1)
UNKNOWN = Figure.missing("too little memory", "GB/s")


def test_known_facts_are_shown() -> None:
    around = Inventory(
        accelerators=(Accelerator("npu", "Intel", "AI Boost", "0000:00:0b.0", None, (), 1 << 30),),
        power=Power("battery", 0.5, "Discharging"),
        power_limits=(PowerLimit("package-0 long_term", 28.0),),
        thermal=(Zone("cpu", 48.3, (Trip("critical", 110.0),)),),
        storage=Storage("/home", 8 << 30, 4 << 30, "ext4", "nvme"),
        network=Network(True, True, (Interface("wwan0", "cellular", True),)),
    )
    told = dict(rows(BARE, Conditions(), UNKNOWN, around, {}))
    assert told["accelerator"] == "NPU Intel AI Boost, 0000:00:0b.0, 1 GiB, no driver"
    assert told["power"] == "battery, battery 50%, discharging"
    assert told["power limits"] == "package-0 long_term 28 W"
    assert told["thermal zone"] == "cpu 48.3 °C, critical at 110 °C"
    assert told["storage"] == "/home: 4 GiB free of 8 GiB, ext4, nvme"
    assert told["connection"] == "online, wwan0 (cellular), metered"


def test_unknown_facts_have_a_reason() -> None:
    around = Inventory(reasons={"power": "nobody knows", "network": "no idea", "accelerators": "none told"})
    told = dict(rows(BARE, Conditions(), UNKNOWN, around, {}))
    assert told["power"] == "unknown: nobody knows"
    assert told["memory bandwidth"] == "unknown: too little memory"
    assert not any("None" in text for text in told.values())


def test_visible_devices_of_runtimes() -> None:
    cpu = RuntimeDevice("CPU", "cpu", "Some CPU", {"capabilities": ["BF16", "INT8"]})
    seen = {
        "openvino": VisibleDevices((cpu,), (AbsentDevice("GPU", "gpu", "Intel", "no driver"),)),
        "mlx": VisibleDevices(reason="not installed"),
    }
    told = rows(BARE, Conditions(), UNKNOWN, Inventory(), seen)
    at = told.index(("openvino", "visible: CPU Some CPU (BF16, INT8)"))
    assert told[at + 1 : at + 3] == [("", "not visible: GPU: no driver"), ("mlx", "unknown: not installed")]
