"""GPUs and NPUs as the system shows them, whether or not any runtime can use them.

Sources: PCI class codes (PCI Code and ID Assignment Specification: 03 display, 12 processing accelerators), the
kernel's ABI of sysfs (bus/pci, class/drm, class/accel, bus/usb), NVIDIA's /proc/driver/nvidia.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgehone.device.sysfs import entries, identifier, integer, linked_name, text

Kind = Literal["gpu", "npu"]

VENDORS: Mapping[int, str] = {
    0x8086: "Intel", 0x10DE: "NVIDIA", 0x1002: "AMD", 0x1022: "AMD", 0x106B: "Apple", 0x17CB: "Qualcomm",
    0x1AC1: "Google", 0x1E60: "Hailo", 0x13B5: "ARM", 0x14C3: "MediaTek", 0x14E4: "Broadcom",
}  # fmt: skip
# What a device tree's `compatible` begins with.
_TREE: Mapping[str, str] = {
    "nvidia": "NVIDIA", "arm": "ARM", "qcom": "Qualcomm", "brcm": "Broadcom", "img": "Imagination",
    "rockchip": "Rockchip", "vivante": "Vivante", "apple": "Apple", "amlogic": "Amlogic", "mediatek": "MediaTek",
}  # fmt: skip
_USB: Mapping[tuple[int, int], tuple[str, str]] = {
    (0x1A6E, 0x089A): ("Google", "Edge TPU (USB, not started)"),
    (0x18D1, 0x9302): ("Google", "Edge TPU (USB)"),
    (0x03E7, 0x2485): ("Intel", "Movidius Myriad X (USB)"),
}
# Device nodes of drivers that show nothing in sysfs' classes.
_NODES: Mapping[str, tuple[Kind, str | None, str]] = {
    "kgsl-3d0": ("gpu", "Qualcomm", "Adreno"),
    "mali0": ("gpu", "ARM", "Mali"),
    "nvhost-gpu": ("gpu", "NVIDIA", "Tegra"),
    "dxg": ("gpu", None, "GPU of the Windows host"),
    "apex_0": ("npu", "Google", "Edge TPU"),
}
# Makers of display adapters that draw and nothing else: management controllers and virtual machines.
_DISPLAYS = (0x1234, 0x1AF4, 0x15AD, 0x1013, 0x1A03, 0x102B, 0x1B36, 0x80EE, 0x1414, 0x5853)
_NAMES = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")


@dataclass(frozen=True)
class Accelerator:
    """One device. `driver` is the kernel's, None where none is bound; `nodes` are what programs open."""

    kind: Kind
    vendor: str | None
    name: str | None
    place: str  # "0000:00:02.0", "soc", …
    driver: str | None = None
    nodes: tuple[str, ...] = ()
    memory_bytes: int | None = None  # its own, where it has some and tells

    def __str__(self) -> str:
        """As a person calls it."""
        return (
            self.name
            if self.name and self.vendor is None
            else f"{self.vendor} {self.name or self.kind.upper()}"
        )


def read_accelerators(root: Path, reasons: dict[str, str]) -> tuple[Accelerator, ...] | None:
    """All that the system shows; None, with the reason under "accelerators", where it shows no devices at all."""
    found = [*_pci(root), *_platform(root), *_usb(root)]
    told = {(one.kind, one.vendor) for one in found}
    found += [one for one in _bare_nodes(root) if (one.kind, one.vendor) not in told]
    places = ("sys/bus/pci", "sys/class/drm", "proc/device-tree", "sys/bus/usb")
    if not found and not any((root / place).is_dir() for place in places):
        reasons["accelerators"] = "the system shows no PCI, USB, DRM or device tree"
        return None
    return tuple(found)


def drivers(root: Path) -> list[str]:
    """What decides which of them a runtime finds, beside the devices: driver versions, and what the linker knows."""
    told = [text(root / "proc/driver/nvidia/version") or "", text(root / "proc/sys/kernel/osrelease") or ""]
    for folder in ("etc/OpenCL/vendors", "etc/vulkan/icd.d"):
        told += [path.name for path in entries(root / folder, "*")]
    with suppress(OSError):
        told.append(str((root / "etc/ld.so.cache").stat().st_mtime_ns))
    return told


def pci_name(table: str, vendor: int, device: int) -> str | None:
    """A device's name in the text of pci.ids: "Raptor Lake-P [Iris Xe Graphics]"."""
    block = re.search(rf"^{vendor:04x}  .*\n((?:[\t#].*\n?|\n)*)", table, re.MULTILINE)
    line = re.search(rf"^\t{device:04x}  (.+)$", block[1], re.MULTILINE) if block else None
    return line[1].strip() if line else None


def _pci(root: Path) -> Iterator[Accelerator]:
    names: str | None = None
    for place in entries(root / "sys/bus/pci/devices", "*"):
        code, vendor, device = (identifier(place / name) for name in ("class", "vendor", "device"))
        kind = _kind(place, code)
        if kind is None or vendor is None or (kind == "gpu" and vendor in _DISPLAYS):
            continue
        if names is None:
            names = next((told for path in _NAMES if (told := text(root / path))), "")
        yield Accelerator(
            kind,
            VENDORS.get(vendor, f"vendor {vendor:04x}"),
            _nvidia_name(root, place.name)
            or pci_name(names, vendor, device or 0)
            or f"{vendor:04x}:{device or 0:04x}",
            place.name,
            linked_name(place / "driver"),
            _nodes(root, place),
            integer(place / "mem_info_vram_total"),
        )


def _kind(place: Path, code: int | None) -> Kind | None:
    base = (code or 0) >> 16
    # AMD's NPU calls itself a signal processor: whatever has a node under accel is one.
    if base == 0x12 or entries(place, "accel/accel*"):
        return "npu"
    return "gpu" if base == 0x03 or (code or 0) >> 8 == 0x0B40 else None


def _nodes(root: Path, place: Path) -> tuple[str, ...]:
    """What programs open of a device: only what is there, since a container may have been given none of it."""
    wanted = [f"dri/{node.name}" for node in entries(place, "drm/render*")]
    wanted += [f"accel/{node.name}" for node in entries(place, "accel/accel*")]
    if linked_name(place / "driver") == "nvidia":
        minor = re.search(r"Device Minor:\s*([0-9]{1,3})", text(_nvidia(root, place.name)) or "")
        wanted += [f"nvidia{minor[1]}"] if minor else []
    return tuple(f"/dev/{node}" for node in wanted if (root / "dev" / node).exists())


def _nvidia(root: Path, place: str) -> Path:
    return root / "proc/driver/nvidia/gpus" / place / "information"


def _nvidia_name(root: Path, place: str) -> str | None:
    told = re.search(r"^Model:\s*(.+)$", text(_nvidia(root, place)) or "", re.MULTILINE)
    return told[1].strip().removeprefix("NVIDIA ") if told else None


def _platform(root: Path) -> Iterator[Accelerator]:
    """What hangs on no bus that can be listed, but has a node: the GPUs and NPUs of boards."""
    classes: tuple[tuple[Kind, str, str, str], ...] = (
        ("gpu", "sys/class/drm", "renderD*", "dri"),
        ("npu", "sys/class/accel", "accel*", "accel"),
    )
    for kind, folder, pattern, nodes in classes:
        for entry in entries(root / folder, pattern):
            told = text(entry / "device/uevent") or ""
            tree = re.search(r"^OF_COMPATIBLE_0=([^,\n]+),(.+)$", told, re.MULTILINE)
            if tree is None:  # on PCI, and told there
                continue
            driver = re.search(r"^DRIVER=(.+)$", told, re.MULTILINE)
            node = f"{nodes}/{entry.name}"
            yield Accelerator(
                kind,
                _TREE.get(tree[1], tree[1]),
                tree[2],
                f"soc/{entry.name}",
                driver[1] if driver else None,
                (f"/dev/{node}",) if (root / "dev" / node).exists() else (),
            )


def _usb(root: Path) -> Iterator[Accelerator]:
    for place in entries(root / "sys/bus/usb/devices", "*"):
        ids = identifier(place / "idVendor"), identifier(place / "idProduct")
        if ids[0] is not None and ids[1] is not None and (known := _USB.get((ids[0], ids[1]))):
            yield Accelerator("npu", *known, f"usb {place.name}")


def _bare_nodes(root: Path) -> Iterator[Accelerator]:
    for node, (kind, vendor, name) in _NODES.items():
        if (root / "dev" / node).exists():
            yield Accelerator(kind, vendor, name, "dev", None, (f"/dev/{node}",))
