"""Tell what this machine is: processor, instruction sets, threads, memory, limits, heat."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgehone.device import Conditions, Device

EXAMPLE = "edgehone device --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(args: argparse.Namespace) -> int:
    """Print the facts as a table, or as JSON."""
    from edgehone.device import detect, read_conditions

    device, conditions = detect(), read_conditions()
    if args.json:
        print(json.dumps({**device.to_json(), "conditions": conditions.to_json()}, indent=2))
        return 0
    for name, value in _rows(device, conditions):
        print(f"{name:<20}{value}")
    return 0


def _rows(device: Device, conditions: Conditions) -> list[tuple[str, str]]:
    mhz = conditions.mean_mhz
    throttled = conditions.core_throttle_count
    rows: list[tuple[str, Any]] = [
        ("processor", device.cpu),
        ("board", device.board),
        ("vendor", device.vendor),
        ("architecture", device.architecture),
        ("instruction sets", _known(device.simd and " ".join(device.simd))),
        ("cores", f"{_known(device.physical_cores)} physical, {_known(device.logical_cores)} logical"),
        ("usable threads", device.threads),
        ("caches", ", ".join(f"{level} {_size(size)}" for level, size in device.caches.items()) or "unknown"),
        ("memory", f"{_size(device.memory_bytes)}, {_size(device.memory_available_bytes)} available"),
        ("memory limit", _size(device.memory_limit_bytes) if device.memory_limit_bytes else "none"),
        ("system", f"{device.os}, kernel {_known(device.kernel)}"),
        ("python", device.python),
        ("virtual machine", _yes_no(device.virtualised)),
        ("container", _yes_no(device.container)),
        (
            "frequency",
            f"{mhz:.0f} MHz (mean)" if mhz is not None else _unknown(conditions, "frequencies_mhz"),
        ),
        (
            "throttled",
            f"{throttled} times" if throttled is not None else _unknown(conditions, "core_throttle_count"),
        ),
        ("fingerprint", device.fingerprint),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]


def _known(value: Any) -> str:
    return "unknown" if value in (None, ()) else str(value)


def _unknown(conditions: Conditions, name: str) -> str:
    return f"unknown: {conditions.reasons.get(name, 'no reason given')}"


def _size(size: int | None) -> str:
    if size is None:
        return "unknown"
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}".replace(".0 ", " ")
    return f"{size} B"


def _yes_no(value: bool | None) -> str:
    return "unknown" if value is None else ("yes" if value else "no")
