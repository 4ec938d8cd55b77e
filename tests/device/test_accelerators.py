from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from edgehone.device.accelerators import Accelerator, drivers, pci_name, read_accelerators
from edgehone.device.darwin_inventory import parse_displays

PCI = "sys/bus/pci/devices"
Tree = Callable[..., Path]


def device(place: str, code: str, vendor: str, number: str) -> dict[str, str]:
    told = {"class": code, "vendor": vendor, "device": number}
    return {f"{PCI}/{place}/{name}": f"{value}\n" for name, value in told.items()}


def test_an_ultra_laptop_with_gpu_and_npu(tree: Tree) -> None:
    files = {
        **device("0000:00:00.0", "0x060000", "0x8086", "0x7d01"),  # a bridge
        **device("0000:00:02.0", "0x030000", "0x8086", "0x7d55"),
        f"{PCI}/0000:00:02.0/drm/renderD128/dev": "226:128",
        **device("0000:00:0b.0", "0x120000", "0x8086", "0x7d1d"),
        f"{PCI}/0000:00:0b.0/accel/accel0/dev": "261:0",
        "dev/dri/renderD128": "",
        "usr/share/misc/pci.ids": "8086  Intel Corporation\n\t7d55  Meteor Lake-P [Intel Arc Graphics]\n",
    }
    root = tree(
        files, {f"{PCI}/0000:00:02.0/driver": "../drivers/i915", f"{PCI}/0000:00:0b.0/driver": "x/intel_vpu"}
    )
    assert read_accelerators(root, {}) == (
        Accelerator("gpu", "Intel", "Meteor Lake-P [Intel Arc Graphics]", "0000:00:02.0", "i915",
                    ("/dev/dri/renderD128",)),
        # A container that was not given the node.
        Accelerator("npu", "Intel", "8086:7d1d", "0000:00:0b.0", "intel_vpu", ()),
    )  # fmt: skip


def test_an_nvidia_server_and_its_management_display(tree: Tree) -> None:
    files = {
        **device("0000:03:00.0", "0x030000", "0x1a03", "0x2000"),  # ASPEED's: it draws and nothing else
        **device("0000:1b:00.0", "0x030200", "0x10de", "0x2330"),
        "proc/driver/nvidia/gpus/0000:1b:00.0/information": "Model: \t\t NVIDIA H100 80GB HBM3\nDevice Minor: \t 0\n",
        "proc/driver/nvidia/version": "NVRM version: 570.1\n",
        "dev/nvidia0": "",
    }
    root = tree(files, {f"{PCI}/0000:1b:00.0/driver": "../../nvidia"})
    (found,) = read_accelerators(root, {}) or ()
    assert str(found) == "NVIDIA H100 80GB HBM3"
    assert (found.driver, found.nodes) == ("nvidia", ("/dev/nvidia0",))
    assert "NVRM version: 570.1" in drivers(root)


def test_amd_names_its_npu_a_signal_processor(tree: Tree) -> None:
    files = {
        **device("0000:c5:00.1", "0x118000", "0x1022", "0x1502"),
        f"{PCI}/0000:c5:00.1/accel/accel0/dev": "1",
    }
    (found,) = read_accelerators(tree(files), {}) or ()
    assert (found.kind, found.vendor) == ("npu", "AMD")


def test_device_tree_accelerators_are_found(tree: Tree) -> None:
    said = "DRIVER=v3d\nOF_NAME=v3d\nOF_COMPATIBLE_0=brcm,2712-v3d\n"
    root = tree({"sys/class/drm/renderD128/device/uevent": said, "dev/dri/renderD128": ""})
    (found,) = read_accelerators(root, {}) or ()
    assert (found.kind, str(found), found.driver) == ("gpu", "Broadcom 2712-v3d", "v3d")


def test_usb_and_bare_nodes(tree: Tree) -> None:
    files = {"sys/bus/usb/devices/1-1/idVendor": "18d1", "sys/bus/usb/devices/1-1/idProduct": "9302"}
    found = read_accelerators(tree({**files, "dev/mali0": "", "dev/apex_0": ""}), {}) or ()
    # The Edge TPU's node tells nothing that the bus has not told.
    assert [str(one) for one in found] == ["Google Edge TPU (USB)", "ARM Mali"]


def test_no_accelerators_and_unknown_accelerators_differ(tree: Tree) -> None:
    reasons: dict[str, str] = {}
    assert read_accelerators(tree({"sys/bus/pci/": ""}), reasons) == ()
    assert reasons == {}
    assert read_accelerators(tree({}) / "nothing", reasons) is None
    assert reasons["accelerators"]


@settings(deadline=None)
@given(st.sampled_from(["class", "vendor", "device", "drm/renderD1/dev"]), st.text())
def test_invalid_contents_never_raise(name: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / PCI / "0000:00:02.0"
        (place / "drm/renderD1").mkdir(parents=True)
        for one, said in (("class", "0x030000"), ("vendor", "0x8086"), ("device", "0x1")):
            (place / one).write_text(said)
        (place / name).write_text(text)
        assert len(read_accelerators(Path(folder), {}) or ()) <= 1


def test_names_of_pci_ids() -> None:
    table = "# list\n10de  NVIDIA Corporation\n\t0020  NV4\n\t\t1043  sub\n\t2330  GH100\n8086  Intel\n\t0020  other\n"
    assert pci_name(table, 0x10DE, 0x2330) == "GH100"
    assert pci_name(table, 0x8086, 0x0020) == "other"
    assert pci_name(table, 0x8086, 0x2330) is None and pci_name("", 1, 2) is None


def test_a_mac() -> None:
    told = {
        "sppci_model": "Apple M2",
        "sppci_bus": "spdisplays_builtin",
        "spdisplays_vendor": "sppci_vendor_Apple",
        "spdisplays_mtlgpufamilysupport": "spdisplays_metal3",
    }
    said = json.dumps({"SPDisplaysDataType": [told]})
    gpu, npu = parse_displays(said) or ()
    assert (str(gpu), gpu.driver) == ("Apple M2", "Metal")
    assert (str(npu), npu.kind) == ("Apple Neural Engine", "npu")
    assert parse_displays("") is None and parse_displays('{"SPDisplaysDataType": 3}') is None


@given(st.text())
def test_any_text_is_displays_or_none(said: str) -> None:
    assert parse_displays(said) is None
