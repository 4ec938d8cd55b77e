"""A machine as text: a name and a line for each fact; an unknown fact is shown with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.backends.shared.visible_devices import RuntimeDevice, VisibleDevices
from edgehone.core.figure import Figure
from edgehone.device.accelerators import Accelerator
from edgehone.device.facts import Device
from edgehone.device.inventory_facts import (
    Inventory,
)
from edgehone.device.network import Network
from edgehone.device.power import Power
from edgehone.device.storage import Storage
from edgehone.device.thermal import Zone
from edgehone.device.throttle import Conditions


def rows(
    device: Device,
    conditions: Conditions,
    bandwidth: Figure,
    around: Inventory,
    visible: Mapping[str, VisibleDevices],
) -> list[tuple[str, str]]:
    """Return the rows (name, text):

    the machine, its surroundings, the devices visible to each runtime, its present state.
    """
    return [
        *_machine(device, bandwidth),
        *_inventory(around),
        *(row for name, one in visible.items() for row in _visible(name, one)),
        *_now(conditions),
        ("fingerprint", device.fingerprint),
    ]


def _machine(device: Device, bandwidth: Figure) -> list[tuple[str, str]]:
    def known(name: str) -> str:
        value = getattr(device, name)
        return _why(device.reasons, name) if value is None else str(value)

    cores = f"{_count(device.physical_cores)} physical, {_count(device.logical_cores)} logical"
    caches = ", ".join(f"{level} {size(bytes)}" for level, bytes in device.caches.items())
    speed = f"{bandwidth.value:.1f} GB/s read (the best of {bandwidth.n} rounds)" if bandwidth.value else ""
    memory = device.memory_bytes
    free = device.memory_available_bytes
    limit = device.memory_limit_bytes
    return [
        ("processor", known("cpu")),
        *([("board", device.board)] if device.board else []),
        ("vendor", known("vendor")),
        ("architecture", device.architecture),
        (
            "instruction sets",
            known("simd") if device.simd is None else " ".join(device.simd) or "none that is used",
        ),
        ("cores", cores),
        ("usable threads", str(device.threads)),
        ("caches", caches or "unknown: not reported by the system"),
        (
            "memory",
            known("memory_bytes")
            if memory is None
            else f"{size(memory)}, {_size_or_unknown(free)} available",
        ),
        ("memory bandwidth", speed or f"unknown: {bandwidth.reason}"),
        ("memory limit", size(limit) if limit else "none"),
        ("system", f"{device.os}, kernel {device.kernel or 'unknown'}"),
        ("python", device.python),
        ("virtual machine", _yes_no(device.virtualised, device.reasons, "virtualised")),
        ("container", _yes_no(device.container, device.reasons, "container")),
    ]


def _inventory(around: Inventory) -> list[tuple[str, str]]:
    why = around.reasons
    kinds = ", ".join(
        f"{one.count} {one.name}{f' (to {one.max_mhz:.0f} MHz)' if one.max_mhz else ''}"
        for one in around.cores or ()
    )
    accelerators = around.accelerators
    limits = around.power_limits
    processors = around.limits.cpus if around.limits else None
    return [
        ("kinds of cores", kinds or _why(why, "cores")),
        *(("accelerator", _accelerator(one)) for one in accelerators or ()),
        *([] if accelerators else [("accelerator", "none" if accelerators is not None else _why(why, "accelerators"))]),
        ("power", _power(around.power) if around.power else _why(why, "power")),
        ("power limits", ", ".join(f"{one.domain} {one.watts:g} W" for one in limits) if limits
         else _why(why, "power_limits")),
        *(("thermal zone", _zone(one)) for one in around.thermal or ()),
        *([] if around.thermal else [("thermal zone", _why(why, "thermal"))]),
        ("storage", _storage(around.storage, why) if around.storage else _why(why, "storage")),
        ("connection", _network(around.network, why) if around.network else _why(why, "network")),
        ("processor limit", f"{processors:g} processors" if processors else "none"),
    ]  # fmt: skip


def _now(conditions: Conditions) -> list[tuple[str, str]]:
    mhz, throttled = conditions.mean_mhz, conditions.core_throttle_count
    return [
        ("frequency", f"{mhz:.0f} MHz (mean)" if mhz is not None else _why(conditions.reasons, "frequencies_mhz")),
        ("throttled", f"{throttled} times" if throttled is not None
         else _why(conditions.reasons, "core_throttle_count")),
    ]  # fmt: skip


def _visible(backend: str, visible: VisibleDevices) -> list[tuple[str, str]]:
    """Return a line with the visible devices, then one for each device that is not visible."""
    if visible.reason:
        return [(backend, _why({backend: visible.reason}, backend))]
    devices = [_device(one) for one in visible.devices]
    lines = [f"visible: {', '.join(devices) or 'none'}"]
    lines += [f"not visible: {one.id}: {one.reason}" for one in visible.absent]
    return [(backend if at == 0 else "", line) for at, line in enumerate(lines)]


def _device(one: RuntimeDevice) -> str:
    name = f"{one.id} {one.name or ''}".strip()
    capabilities = ", ".join(one.facts.get("capabilities", ()))
    return f"{name} ({capabilities})" if capabilities else name


def _accelerator(one: Accelerator) -> str:
    parts = [f"{one.kind.upper()} {one}", one.place]
    parts += [size(one.memory_bytes)] if one.memory_bytes else []
    parts += [f"driver {one.driver}" if one.driver else "no driver"]
    return ", ".join([*parts, *one.nodes])


def _power(power: Power) -> str:
    charge = [] if power.charge is None else [f"battery {power.charge:.0%}"]
    return ", ".join([power.source, *charge, *([power.status.lower()] if power.status else [])])


def _zone(zone: Zone) -> str:
    now = "off" if zone.celsius is None else f"{zone.celsius:.1f} °C"
    return ", ".join(
        [f"{zone.name} {now}", *(f"{trip.kind} at {trip.celsius:.0f} °C" for trip in zone.trips)]
    )


def _storage(one: Storage, why: Mapping[str, str]) -> str:
    kind = one.drive or f"drive unknown ({why.get('storage.drive', 'no reason given')})"
    room = f"{size(one.free_bytes)} free of {size(one.total_bytes)}"
    return f"{one.path}: {room}, {one.file_system or 'unknown file system'}, {kind}"


def _network(one: Network, why: Mapping[str, str]) -> str:
    up = [f"{each.name} ({each.kind})" for each in one.interfaces if each.up]
    state = _why(why, "network.online") if one.online is None else ("online" if one.online else "offline")
    if one.metered is None:
        return ", ".join([state, *up, f"whether metered is {_why(why, 'network.metered')}"])
    return ", ".join([state, *up, "metered" if one.metered else "not metered"])


def size(bytes: int) -> str:
    """Return a number of bytes in binary units."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if bytes >= scale:
            return f"{bytes / scale:.1f} {unit}".replace(".0 ", " ")
    return f"{bytes} B"


def _size_or_unknown(bytes: int | None) -> str:
    return "unknown" if bytes is None else size(bytes)


def _count(value: Any) -> str:
    return "unknown" if value is None else str(value)


def _yes_no(value: bool | None, why: Mapping[str, str], name: str) -> str:
    return _why(why, name) if value is None else ("yes" if value else "no")


def _why(reasons: Mapping[str, str], name: str) -> str:
    return f"unknown: {reasons.get(name, 'no reason given')}"
