"""What this machine is: processor, instruction sets, threads that may be used, memory, limits, system."""

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

# What hypervisors call the board that they pretend to be (DMI sys_vendor and product_name).
_VIRTUAL = ("qemu", "kvm", "vmware", "virtualbox", "xen", "bochs", "parallels", "virtual machine", "bhyve",
            "amazon ec2", "google compute engine", "openstack", "firecracker")  # fmt: skip
# Where a Linux machine would tell what it does not tell.
_WHY = {
    "cpu": "/proc/cpuinfo names no processor",
    "vendor": "/proc/cpuinfo names no maker",
    "board": "there is no device tree that names it: only boards have one",
    "simd": "/proc/cpuinfo lists neither flags nor Features",
    "physical_cores": "neither sysfs' topology nor /proc/cpuinfo numbers the cores",
    "logical_cores": "/proc/cpuinfo lists no processors",
    "memory_bytes": "/proc/meminfo has no MemTotal",
    "memory_available_bytes": "/proc/meminfo has no MemAvailable",
    "memory_limit_bytes": "no control group limits it below the machine's memory",
    "kernel": "/proc/sys/kernel/osrelease cannot be read",
    "virtualised": "neither processor, hypervisor nor firmware tells",
    "container": "the control groups of the first process cannot be read",
}
_CONTAINERS = ("docker", "kubepods", "containerd", "lxc", "libpod", "podman")


def detect() -> Device:
    """This machine. Never raises: what cannot be read is None."""
    if sys.platform.startswith("linux"):
        return detect_linux()
    if sys.platform == "darwin":
        found = detect_darwin()
        return replace(found, reasons=lacking(found, dict.fromkeys(_WHY, "sysctl does not tell")))
    found = Device(
        architecture=platform.machine() or "unknown",
        os=platform.platform(terse=True) or "unknown",
        python=platform.python_version(),
        threads=os.cpu_count() or 1,
        cpu=platform.processor() or None,
        logical_cores=os.cpu_count(),
        kernel=platform.version() or None,
    )
    return replace(
        found, reasons=lacking(found, dict.fromkeys(_WHY, f"how {sys.platform} tells it is not known"))
    )


def detect_linux(
    root: Path = Path("/"), affinity: int | None = None, architecture: str | None = None
) -> Device:
    """A Linux machine whose proc, sys and etc lie under `root`; `affinity` counts the threads it allows."""
    info = parse_cpuinfo(text(root / "proc/cpuinfo") or "")
    memory = parse_meminfo(text(root / "proc/meminfo") or "")
    limits = read_limits(root)
    logical = info.logical_cores or os.cpu_count()
    total = memory.get("MemTotal")
    limit = limits.memory_bytes
    found = Device(
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
    return replace(found, reasons=lacking(found, _WHY))


def lacking(device: Device, why: Mapping[str, str]) -> dict[str, str]:
    """The reasons for those fields that are None."""
    return {name: reason for name, reason in why.items() if getattr(device, name) is None}


def usable_threads(affinity: int, limits: Limits) -> int:
    """The smaller of the affinity's count and the quota rounded down, at least 1."""
    quota = affinity if limits.cpus is None else int(limits.cpus)
    return max(1, min(affinity, quota))


def parse_meminfo(text: str) -> dict[str, int]:
    """The fields of /proc/meminfo that are in kB, in bytes."""
    found = re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    return {name: int(size) * 1024 for name, size in found}


def read_caches(root: Path) -> dict[str, int]:
    """Sizes in bytes of the first core's caches: "L1d", "L1i", "L2", "L3"."""
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
    said = " ".join(name for name in names if name).lower()
    if any(word in said for word in _VIRTUAL):
        return True
    if hypervisor is False or said or _board(root):
        return False
    return None


def _container(root: Path) -> bool | None:
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return True
    told = [text(root / name) for name in ("proc/1/cgroup", "proc/self/cgroup")]
    said = " ".join(text for text in told if text)
    if any(word in said for word in _CONTAINERS) or text(root / "run/systemd/container"):
        return True
    return False if said else None
