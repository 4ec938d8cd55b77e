"""Detect GPUs and NPUs from the system, regardless of whether a runtime can use them.

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
# Vendor prefixes of `compatible` in device trees.
_TREE: Mapping[str, str] = {
    "nvidia": "NVIDIA", "arm": "ARM", "qcom": "Qualcomm", "brcm": "Broadcom", "img": "Imagination",
    "rockchip": "Rockchip", "vivante": "Vivante", "apple": "Apple", "amlogic": "Amlogic", "mediatek": "MediaTek",
}  # fmt: skip
_USB: Mapping[tuple[int, int], tuple[str, str]] = {
    (0x1A6E, 0x089A): ("Google", "Edge TPU (USB, not started)"),
    (0x18D1, 0x9302): ("Google", "Edge TPU (USB)"),
    (0x03E7, 0x2485): ("Intel", "Movidius Myriad X (USB)"),
}
# Device nodes of drivers that do not appear in the classes of sysfs.
_NODES: Mapping[str, tuple[Kind, str | None, str]] = {
    "kgsl-3d0": ("gpu", "Qualcomm", "Adreno"),
    "mali0": ("gpu", "ARM", "Mali"),
    "nvhost-gpu": ("gpu", "NVIDIA", "Tegra"),
    "dxg": ("gpu", None, "GPU of the Windows host"),
    "apex_0": ("npu", "Google", "Edge TPU"),
}
# Vendors of display adapters that do not compute: management controllers and virtual machines.
_DISPLAYS = (0x1234, 0x1AF4, 0x15AD, 0x1013, 0x1A03, 0x102B, 0x1B36, 0x80EE, 0x1414, 0x5853)
_NAMES = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")


@dataclass(frozen=True)
class Accelerator:
    """An accelerator. `driver`: the kernel driver, None if none is bound. `nodes`: the device files to open."""

    kind: Kind
    vendor: str | None
    name: str | None
    place: str  # "0000:00:02.0", "soc", …
    driver: str | None = None
    nodes: tuple[str, ...] = ()
    memory_bytes: int | None = None  # dedicated memory, if it has any and states it

    def __str__(self) -> str:
        """Return the name for display."""
        return (
            self.name
            if self.name and self.vendor is None
            else f"{self.vendor} {self.name or self.kind.upper()}"
        )


def read_accelerators(root: Path, reasons: dict[str, str]) -> tuple[Accelerator, ...] | None:
    """Return all accelerators, or None, with a reason under "accelerators", if the system lists no devices at all."""
    devices = [*_pci(root), *_platform(root), *_usb(root)]
    listed = {(one.kind, one.vendor) for one in devices}
    devices += [one for one in _bare_nodes(root) if (one.kind, one.vendor) not in listed]
    folders = ("sys/bus/pci", "sys/class/drm", "proc/device-tree", "sys/bus/usb")
    if not devices and not any((root / folder).is_dir() for folder in folders):
        reasons["accelerators"] = "the system has no PCI, USB, DRM or device tree entries"
        return None
    return tuple(devices)


def drivers(root: Path) -> list[str]:
    """Return what else decides which accelerators a runtime finds: driver versions, and the linker cache's time."""
    state = [text(root / "proc/driver/nvidia/version") or "", text(root / "proc/sys/kernel/osrelease") or ""]
    for folder in ("etc/OpenCL/vendors", "etc/vulkan/icd.d"):
        state += [path.name for path in entries(root / folder, "*")]
    with suppress(OSError):
        state.append(str((root / "etc/ld.so.cache").stat().st_mtime_ns))
    return state


def pci_name(table: str, vendor: int, device: int) -> str | None:
    """Return a device's name from the text of pci.ids: "Raptor Lake-P [Iris Xe Graphics]"."""
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
            names = next((content for path in _NAMES if (content := text(root / path))), "")
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
    # AMD's NPU has the class of a signal processor. Every device with a node under accel is an NPU.
    if base == 0x12 or entries(place, "accel/accel*"):
        return "npu"
    return "gpu" if base == 0x03 or (code or 0) >> 8 == 0x0B40 else None


def _nodes(root: Path, place: Path) -> tuple[str, ...]:
    """Return the device files of an accelerator that exist; a container may have access to none of them."""
    wanted = [f"dri/{node.name}" for node in entries(place, "drm/render*")]
    wanted += [f"accel/{node.name}" for node in entries(place, "accel/accel*")]
    if linked_name(place / "driver") == "nvidia":
        minor = re.search(r"Device Minor:\s*([0-9]{1,3})", text(_nvidia(root, place.name)) or "")
        wanted += [f"nvidia{minor[1]}"] if minor else []
    return tuple(f"/dev/{node}" for node in wanted if (root / "dev" / node).exists())


def _nvidia(root: Path, place: str) -> Path:
    return root / "proc/driver/nvidia/gpus" / place / "information"


def _nvidia_name(root: Path, place: str) -> str | None:
    model = re.search(r"^Model:\s*(.+)$", text(_nvidia(root, place)) or "", re.MULTILINE)
    return model[1].strip().removeprefix("NVIDIA ") if model else None


def _platform(root: Path) -> Iterator[Accelerator]:
    """Yield accelerators without an enumerable bus that have a device file: the GPUs and NPUs of boards."""
    classes: tuple[tuple[Kind, str, str, str], ...] = (
        ("gpu", "sys/class/drm", "renderD*", "dri"),
        ("npu", "sys/class/accel", "accel*", "accel"),
    )
    for kind, folder, pattern, nodes in classes:
        for entry in entries(root / folder, pattern):
            uevent = text(entry / "device/uevent") or ""
            tree = re.search(r"^OF_COMPATIBLE_0=([^,\n]+),(.+)$", uevent, re.MULTILINE)
            if tree is None:  # on PCI, and listed there
                continue
            driver = re.search(r"^DRIVER=(.+)$", uevent, re.MULTILINE)
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
