"""How much memory of GPUs and NPUs a process uses, as the kernel or the driver tells it. No framework is needed.

Sources, those of one process first:
    fdinfo      /proc/PID/fdinfo of every driver in the kernel's DRM and accel subsystems (Intel, AMD, Arm, Qualcomm …),
                as Documentation/gpu/drm-usage-stats.rst of the kernel specifies it
    nvidia-smi  --query-compute-apps: NVIDIA's own driver is not in that subsystem
    rise        where neither names the process (in a container nvidia-smi shows other process ids): how much more
                memory of all NVIDIA or AMD GPUs is in use than before (`memory.used`, mem_info_vram_used). The memory
                that other processes take meanwhile is included
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.device.sysfs import entries, integer, text

UNTOLD = (
    "neither the kernel's fdinfo, nvidia-smi nor the runtime tells how much memory the process uses there"
)
_SCALES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}
# xe has keys drm-total-cycles-ENGINE, which count time.
_MEMORY = re.compile(
    r"^drm-(memory|resident|total)-((?!cycles-)[^:\s]+):\s*([0-9]{1,20})(?: (KiB|MiB))?\s*$", re.MULTILINE
)
_CLIENT = re.compile(r"^drm-(driver|pdev|client-id):\s*(\S+)", re.MULTILINE)
# The kind of key that counts, if a driver has several: memory is the older name of resident, total includes what is
# swapped out or was never allocated.
_ORDER = ("resident", "memory", "total")
_SECONDS = 20.0  # nvidia-smi initializes the driver first, which can take seconds

# Returns the lines that nvidia-smi prints for a query.
NvidiaSmi = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Used:
    """Bytes of all GPUs of NVIDIA and of AMD in use, by all processes. None if the machine does not tell."""

    nvidia: int | None
    amd: int | None


def parse_fdinfo(content: str) -> tuple[tuple[str, ...], int] | None:
    """Return the identity of the client of one fdinfo file, and the bytes that it uses in all regions.

    None if the file is not that of a DRM device, or its driver does not tell memory.
    """
    client = dict(_CLIENT.findall(content))
    if "driver" not in client:
        return None
    regions: dict[str, dict[str, int]] = {}
    for kind, region, number, unit in _MEMORY.findall(content):
        regions.setdefault(region, {})[kind] = int(number) * _SCALES[unit]
    if not regions:
        return None
    total = sum(next(kinds[kind] for kind in _ORDER if kind in kinds) for kinds in regions.values())
    identity = tuple(client.get(name, "") for name in ("driver", "pdev", "client-id"))
    return identity, total


def drm_bytes(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Return the bytes that a process uses through DRM drivers, None if no driver tells. Costs below 1 ms.

    A client that the process has several descriptors of is counted once. A buffer that several clients share is
    counted in each.
    """
    clients: dict[tuple[str, ...], int] = {}
    for entry in entries(proc / str(pid) / "fdinfo", "*"):
        # The descriptor may have been closed meanwhile.
        if found := parse_fdinfo(text(entry) or ""):
            identity, size = found
            clients[identity if identity[-1] else (*identity, entry.name)] = size
    return sum(clients.values()) if clients else None


def used(smi: NvidiaSmi | None = None, root: Path = Path("/")) -> Used:
    """Return the memory of all GPUs that is in use by all processes."""
    values = [_mebibytes(line) for line in (smi or _nvidia_smi)("--query-gpu=memory.used")]
    cards = [integer(card / "device/mem_info_vram_used") for card in entries(root / "sys/class/drm", "card*")]
    return Used(_sum(values), _sum(cards))


def of_process(
    pid: int, before: Used, smi: NvidiaSmi | None = None, root: Path = Path("/")
) -> dict[str, Any]:
    """Return `bytes`, the memory of accelerators that a process uses now, and `sources`; `bytes` None if nothing tells.

    `before` is what was in use before the process took any.
    """
    now = used(smi, root)
    parts: dict[str, int | None] = {"fdinfo": drm_bytes(pid, root / "proc")}
    if parts["fdinfo"] is None:
        parts["rise of AMD's memory"] = _rise(before.amd, now.amd)
    if now.nvidia is not None:
        parts["nvidia-smi"] = _nvidia_bytes(
            pid, (smi or _nvidia_smi)("--query-compute-apps=pid,used_gpu_memory")
        )
        if parts["nvidia-smi"] is None:
            parts["rise of NVIDIA's memory"] = _rise(before.nvidia, now.nvidia)
    told = {source: size for source, size in parts.items() if size}
    return {"bytes": sum(told.values()) or None, "sources": sorted(told)}


def _nvidia_bytes(pid: int, lines: Sequence[str]) -> int | None:
    """Return the bytes of a process on all GPUs from lines "PID, MiB", None if it is not named or not told."""
    sizes = []
    for line in lines:
        named, _, size = line.partition(",")
        if named.strip() == str(pid):
            sizes.append(_mebibytes(size))
    return _sum(sizes)


def _mebibytes(value: str) -> int | None:
    """Return "567" as bytes; None for [N/A] and [Insufficient Permissions]."""
    return int(value) << 20 if re.fullmatch(r"\s*[0-9]{1,12}\s*", value) else None


def _rise(before: int | None, now: int | None) -> int | None:
    return None if before is None or now is None else max(now - before, 0)


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _nvidia_smi(query: str) -> list[str]:
    """Return the lines that nvidia-smi prints for a query; none without it, and where it finds no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []
