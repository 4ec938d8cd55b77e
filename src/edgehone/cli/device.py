"""Tell what this machine is: processor, instruction sets, threads, memory and its bandwidth, limits, heat.

`device list` shows the catalogue of other devices, `device show NAME` one of them; your own stand in edgehone.toml
under [devices.NAME].
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgehone.device import Conditions, Device
    from edgehone.figure import Figure

EXAMPLE = """examples:
  edgehone device
  edgehone device list
  edgehone device show raspberry-pi-5 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "what", nargs="?", choices=("list", "show"), help="the catalogue (default: this machine)"
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="of the catalogue, for show")
    parser.add_argument("--bandwidth", action="store_true", help="measure the memory's read bandwidth anew")
    parser.add_argument("--config", metavar="FILE", help="instead of ./edgehone.toml")


def run(args: argparse.Namespace) -> int:
    """Print the facts as a table, or as JSON."""
    if args.what:
        return _catalogue(args)
    from edgehone.device import detect, read_conditions
    from edgehone.device.bandwidth import read_bandwidth
    from edgehone.jobs.home import home

    device, conditions = detect(), read_conditions()
    bandwidth = read_bandwidth(device, home() / "bandwidth", fresh=args.bandwidth)
    if args.json:
        told = {"bandwidth": bandwidth.to_json(), "conditions": conditions.to_json()}
        print(json.dumps({**device.to_json(), **told}, indent=2))
        return 0
    for name, value in _rows(device, conditions, bandwidth):
        print(f"{name:<20}{value}")
    return 0


def _catalogue(args: argparse.Namespace) -> int:
    from edgehone import config
    from edgehone.device.catalogue import catalogue, find
    from edgehone.errors import InputError
    from edgehone.report.summary import table

    settings = config.read(args.config)
    if args.what == "show":
        if args.name is None:
            raise InputError("device show: which?", hint="edgehone device list shows all")
        one = find(args.name, settings)
        if args.json:
            print(json.dumps(one.to_json(), indent=1))
            return 0
        for name, value in one.to_json().items():
            known = ", ".join(value) if isinstance(value, (list, tuple)) else value
            if name != "unknown" and known not in (None, ""):
                print(f"{name:<20}{known}")
        for name, reason in one.unknown.items():
            print(f"{name:<20}unknown: {reason}")
        return 0
    devices = catalogue(settings)
    if args.json:
        print(json.dumps({name: one.to_json() for name, one in devices.items()}, indent=1))
        return 0
    rows = [("", "name", "GB/s", "memory", "platform", "")]
    for name, one in devices.items():
        speed = f"{one.bandwidth_gb_s:.0f}" if one.bandwidth_gb_s else "-"
        memory = f"{one.memory_bytes / 1e9:.0f} GB" if one.memory_bytes else "-"
        rows.append(("", name, speed, memory, one.row, one.title))
    print("\n".join(table(rows)))
    return 0


def _rows(device: Device, conditions: Conditions, bandwidth: Figure) -> list[tuple[str, str]]:
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
        (
            "memory bandwidth",
            f"{bandwidth.value:.1f} GB/s read (the best of {bandwidth.n} rounds)"
            if bandwidth.value
            else f"unknown: {bandwidth.reason}",
        ),
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
