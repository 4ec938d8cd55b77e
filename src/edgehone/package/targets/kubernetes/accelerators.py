"""Accelerators of nodes: which one a recipe needs, and what a pod asks for to get it."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.bundle.read import Bundle


@functools.cache
def table() -> Mapping[str, Mapping[str, Any]]:
    """Return the content of accelerators.toml."""
    return tomllib.loads(Path(__file__).with_name("accelerators.toml").read_text("utf-8"))


def device_of(bundle: Bundle) -> str:
    """Return the device that the bundle's recipe names; CPU without one."""
    return str(bundle.manifest.recipe["settings"].get("device") or "CPU")


def accelerator_of(bundle: Bundle) -> str | None:
    """Return the accelerator that the bundle runs on, None for the CPU. Raises KeyError for another device."""
    device, backend = device_of(bundle), bundle.manifest.recipe["backend"]
    if device.upper() == "CPU":
        return None
    for name, one in table().items():
        if backend in one["backends"] and any(device.upper().startswith(begin) for begin in one["devices"]):
            return name
    raise KeyError(device)


def resource_of(name: str, intel_driver: str) -> str:
    """Return the resource that the device plugin offers."""
    return f"gpu.intel.com/{intel_driver}" if name == "intel-gpu" else str(table()[name]["resource"])
