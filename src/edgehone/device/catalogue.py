"""The catalogue of devices: catalogue.toml, and the user's own under [devices.NAME]; each checked as it is read."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgehone.device.facts import Device
from edgehone.errors import InputError

ROWS = ("intel", "nvidia", "apple", "arm_mobile", "arm_embedded", "edge_tpu", "cross_platform")
ARCHITECTURES = ("x86_64", "aarch64", "arm64")
_TEXTS = ("title", "row", "architecture", "cpu")
_LISTS = ("simd", "accelerators", "sources")
_NUMBERS = ("memory_gb", "memory_mt_s", "memory_bits", "bandwidth_gb_s", "size_budget_mb")


@dataclass(frozen=True)
class CatalogueDevice:
    """A device by its papers. What is None has its reason in `unknown`, by the figure's name.

    `bandwidth_gb_s` is the peak by the memory's clock and width, in 10⁹ bytes a second; sizes are in bytes.
    """

    name: str
    title: str
    row: str  # of the selection matrix
    architecture: str
    cpu: str
    simd: tuple[str, ...]
    threads: int
    memory_bytes: int | None
    bandwidth_gb_s: float | None
    size_budget_bytes: int | None
    accelerators: tuple[str, ...]
    sources: tuple[str, ...]
    unknown: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {**asdict(self), "unknown": dict(self.unknown)}


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, CatalogueDevice]:
    """Those that ship, by name."""
    path = Path(__file__).with_name("catalogue.toml")
    return read(tomllib.loads(path.read_text("utf-8")), path.name)


def catalogue(config: Mapping[str, Any] | None = None) -> dict[str, CatalogueDevice]:
    """Those that ship and the user's own ([devices.NAME] of a parsed edgehone.toml), which stand over them."""
    return {**shipped(), **read((config or {}).get("devices", {}), "[devices] in edgehone.toml")}


def find(name: str, config: Mapping[str, Any] | None = None) -> CatalogueDevice:
    """The device of that name. Raises InputError with the nearest for an unknown one."""
    known = catalogue(config)
    if name not in known:
        close = get_close_matches(name, known, n=1, cutoff=0.5)
        raise InputError(
            f"unknown device {name!r}",
            hint=(f"did you mean {close[0]!r}? " if close else "") + "edgehone device list shows all",
        )
    return known[name]


def read(tables: Any, where: str) -> dict[str, CatalogueDevice]:
    """Devices from parsed TOML. Raises InputError that names file, device, key and value for what cannot be."""
    if not isinstance(tables, Mapping):
        raise InputError(f"{where} is {tables!r}, not tables", hint="write [devices.NAME]")
    return {name: _device(name, table, f"{where}: {name}") for name, table in tables.items()}


def platform_row(device: Device | CatalogueDevice) -> str:
    """The row of the selection matrix that a machine or a device of the catalogue belongs to."""
    if isinstance(device, CatalogueDevice):
        return device.row
    if device.os.startswith("macOS") or device.architecture == "arm64":
        return "apple"
    if device.architecture in ("aarch64", "armv7l"):
        return "arm_embedded"
    return "intel" if "intel" in f"{device.vendor} {device.cpu}".lower() else "cross_platform"


def _device(name: str, table: Any, where: str) -> CatalogueDevice:
    if not isinstance(table, Mapping):
        raise InputError(f"{where} is {table!r}, not a table", hint=f"write [devices.{name}]")
    known = (*_TEXTS, *_LISTS, *_NUMBERS, "threads", "unknown")
    for key in table:
        if key not in known:
            close = get_close_matches(str(key), known, n=1)
            hint = (f"did you mean {close[0]!r}? " if close else "") + f"known: {', '.join(known)}"
            raise InputError(f"{where}: unknown key {key!r}", hint=hint)
    texts = {key: _text(table, key, where) for key in _TEXTS}
    _one_of(texts["row"], ROWS, f"{where}: row")
    _one_of(texts["architecture"], ARCHITECTURES, f"{where}: architecture")
    lists = {key: _texts(table, key, where) for key in _LISTS}
    numbers = {key: _number(table, key, where) for key in _NUMBERS}
    threads = table.get("threads")
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise InputError(f"{where}: threads is {threads!r}", hint="give a whole number of 1 or more")
    unknown = table.get("unknown", {})
    if not isinstance(unknown, Mapping) or not all(isinstance(reason, str) for reason in unknown.values()):
        raise InputError(f"{where}: unknown is {unknown!r}", hint='write unknown = { memory_gb = "why" }')
    memory, budget = numbers["memory_gb"], numbers["size_budget_mb"]
    return CatalogueDevice(
        name=name,
        **texts,
        simd=lists["simd"],
        threads=threads,
        memory_bytes=None if memory is None else round(memory * 1e9),
        bandwidth_gb_s=_bandwidth(numbers, where),
        size_budget_bytes=None if budget is None else round(budget * 1e6),
        accelerators=lists["accelerators"],
        sources=lists["sources"],
        unknown=_reasons(dict(unknown), numbers),
    )


def _bandwidth(numbers: Mapping[str, float | None], where: str) -> float | None:
    clock, bits, given = numbers["memory_mt_s"], numbers["memory_bits"], numbers["bandwidth_gb_s"]
    if given is not None and (clock is not None or bits is not None):
        raise InputError(
            f"{where}: bandwidth_gb_s beside memory_mt_s and memory_bits", hint="give one or the other"
        )
    if (clock is None) != (bits is None):
        raise InputError(
            f"{where}: memory_mt_s and memory_bits go together", hint="give both, or bandwidth_gb_s"
        )
    return given if clock is None or bits is None else clock * bits / 8000


def _reasons(unknown: dict[str, str], numbers: Mapping[str, float | None]) -> dict[str, str]:
    """A reason for each figure that is not there."""
    lacking = {"memory_gb": numbers["memory_gb"] is None}
    lacking["bandwidth"] = numbers["bandwidth_gb_s"] is None and numbers["memory_mt_s"] is None
    for key, lacks in lacking.items():
        if lacks:
            unknown.setdefault(key, "the catalogue does not say")
    return unknown


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {key} is {value!r}", hint=f'write {key} = "…"')
    return value


def _texts(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InputError(f"{where}: {key} is {value!r}", hint=f'write {key} = ["…", "…"]')
    return tuple(value)


def _number(table: Mapping[str, Any], key: str, where: str) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not plain or not math.isfinite(value) or value <= 0:
        unit = key.rpartition("memory_")[2] if key.startswith("memory_m") else key
        raise InputError(
            f"{where}: {key} is {value!r}",
            hint=f"give a plain number above 0; the unit is in the name ({unit})",
        )
    return float(value)


def _one_of(value: str, known: tuple[str, ...], where: str) -> None:
    if value not in known:
        close = get_close_matches(value, known, n=1)
        raise InputError(
            f"{where} is {value!r}", hint=(f"did you mean {close[0]!r}? " if close else "") + ", ".join(known)
        )
