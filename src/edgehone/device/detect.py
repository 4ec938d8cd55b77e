"""Detect this machine: processor, instruction sets, usable threads, memory, limits and operating system."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgehone.device.cgroup import Limits, read_limits
from edgehone.device.cpuinfo import parse_cpuinfo
from edgehone.device.darwin import detect_darwin
from edgehone.device.facts import Device
from edgehone.device.sysfs import text

__all__ = ["Device", "detect", "detect_linux"]

# Names of virtual machines' boards (DMI sys_vendor and product_name).
_VIRTUAL = ("qemu", "kvm", "vmware", "virtualbox", "xen", "bochs", "parallels", "virtual machine", "bhyve",
            "amazon ec2", "google compute engine", "openstack", "firecracker")  # fmt: skip
# Reasons for unknown properties on Linux.
_REASONS = {
    "cpu": "/proc/cpuinfo has no processor name",
    "vendor": "/proc/cpuinfo has no vendor",
    "board": "no device tree has its name (only single-board computers have one)",
    "simd": "/proc/cpuinfo lists neither flags nor Features",
    "physical_cores": "neither the topology in sysfs nor /proc/cpuinfo numbers the cores",
    "logical_cores": "/proc/cpuinfo lists no processors",
    "memory_bytes": "/proc/meminfo has no MemTotal",
    "memory_available_bytes": "/proc/meminfo has no MemAvailable",
    "memory_limit_bytes": "no control group limits it below the machine's memory",
    "kernel": "/proc/sys/kernel/osrelease cannot be read",
    "virtualised": "neither processor, hypervisor nor firmware states it",
    "container": "the control groups of the first process cannot be read",
}
_CONTAINERS = ("docker", "kubepods", "containerd", "lxc", "libpod", "podman")


def detect() -> Device:
    """Return this machine. Never raises; what cannot be read is None."""
    if sys.platform.startswith("linux"):
        return detect_linux()
    if sys.platform == "darwin":
        device = detect_darwin()
        return replace(
            device, reasons=missing_reasons(device, dict.fromkeys(_REASONS, "sysctl does not state it"))
        )
    device = Device(
        architecture=platform.machine() or "unknown",
        os=platform.platform(terse=True) or "unknown",
        python=platform.python_version(),
        threads=os.cpu_count() or 1,
        cpu=platform.processor() or None,
        logical_cores=os.cpu_count(),
        kernel=platform.version() or None,
    )
    return replace(
        device,
        reasons=missing_reasons(
            device, dict.fromkeys(_REASONS, f"reading it is not supported on {sys.platform}")
        ),
    )


def detect_linux(
    root: Path = Path("/"), affinity: int | None = None, architecture: str | None = None
) -> Device:
    """Return the Linux machine whose proc, sys and etc are under `root`. `affinity`: the number of allowed threads."""
    info = parse_cpuinfo(text(root / "proc/cpuinfo") or "")
    memory = parse_meminfo(text(root / "proc/meminfo") or "")
    limits = read_limits(root)
    logical = info.logical_cores or os.cpu_count()
    total = memory.get("MemTotal")
    limit = limits.memory_bytes
    device = Device(
        architecture=architecture or platform.machine() or "unknown",
        os=_os_name(text(root / "etc/os-release") or ""),
        python=platform.python_version(),
        threads=usable_threads(affinity or _affinity() or logical or 1, limits),
        cpu=info.model,
        vendor=info.vendor,
        board=_board(root) or info.board,
        simd=info.simd,
        physical_cores=_physical_cores(root) or info.physical_cores,
        logical_cores=logical,
        memory_bytes=total,
        memory_available_bytes=memory.get("MemAvailable"),
        memory_limit_bytes=limit if limit is not None and (total is None or limit < total) else None,
        caches=read_caches(root),
        kernel=text(root / "proc/sys/kernel/osrelease") or None,
        virtualised=True if info.hypervisor else _virtualised(root, info.hypervisor),
        container=_container(root),
    )
    return replace(device, reasons=missing_reasons(device, _REASONS))


def missing_reasons(device: Device, reasons: Mapping[str, str]) -> dict[str, str]:
    """Return the reasons for the fields that are None."""
    return {name: reason for name, reason in reasons.items() if getattr(device, name) is None}


def usable_threads(affinity: int, limits: Limits) -> int:
    """Return the smaller of the affinity count and the CPU quota rounded down, at least 1."""
    quota = affinity if limits.cpus is None else int(limits.cpus)
    return max(1, min(affinity, quota))


def parse_meminfo(text: str) -> dict[str, int]:
    """Return the fields of /proc/meminfo that are in kB, in bytes."""
    sizes = re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    return {name: int(size) * 1024 for name, size in sizes}


def read_caches(root: Path) -> dict[str, int]:
    """Return the sizes in bytes of the first core's caches: "L1d", "L1i", "L2", "L3"."""
    caches: dict[str, int] = {}
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (text(index / name) or "" for name in ("level", "type", "size"))
        match = re.fullmatch(r"(\d+)([KMG]?)\s*", size)
        if not match or not level:
            continue
        suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
        scale = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[match.group(2)]
        caches[f"L{level}{suffix}"] = int(match.group(1)) * scale
    return dict(sorted(caches.items()))


def _affinity() -> int | None:
    return len(os.sched_getaffinity(0)) if sys.platform.startswith("linux") else None


def _physical_cores(root: Path) -> int | None:
    pairs = set()
    for folder in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology"):
        pairs.add((text(folder / "physical_package_id"), text(folder / "core_id")))
    return len(pairs) if pairs and not any(part is None for pair in pairs for part in pair) else None


def _os_name(text: str) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)"?', text, re.MULTILINE)
    return match.group(1) if match else "Linux"


def _board(root: Path) -> str | None:
    return text(root / "proc/device-tree/model") or None


def _virtualised(root: Path, hypervisor: bool | None) -> bool | None:
    if text(root / "sys/hypervisor/type"):
        return True
    names = [text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    board = " ".join(name for name in names if name).lower()
    if any(word in board for word in _VIRTUAL):
        return True
    if hypervisor is False or board or _board(root):
        return False
    return None


def _container(root: Path) -> bool | None:
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return True
    groups = [text(root / name) for name in ("proc/1/cgroup", "proc/self/cgroup")]
    names = " ".join(group for group in groups if group)
    if any(word in names for word in _CONTAINERS) or text(root / "run/systemd/container"):
        return True
    return False if names else None
