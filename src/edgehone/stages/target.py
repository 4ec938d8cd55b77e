"""Whom a run is for: this machine, or a device of the catalogue that speed and memory are predicted for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone import device as devices
from edgehone.device import bandwidth, catalogue
from edgehone.errors import InputError
from edgehone.jobs.home import home
from edgehone.plan.target import Target

REMOTE = "ssh://"


def target_of(word: str | None, config: Mapping[str, Any]) -> Target | None:
    """The device of the catalogue that `--device` names; None for this machine, where all is measured.

    Raises InputError, with the nearest, for a name that is not known.
    """
    if word is None:
        return None
    if word.startswith(REMOTE):
        raise InputError(
            f"--device {word}: only optimize asks a machine itself; this predicts for a device of the catalogue",
            hint="edgehone device list",
        )
    return Target.of(catalogue.find(word, config))


def here(machine: devices.Device) -> Target:
    """This machine as a target, its bandwidth measured (once, then kept)."""
    return Target(
        "this machine",
        catalogue.platform_row(machine),
        machine.simd or (),
        machine.threads,
        machine.usable_memory_bytes,
        bandwidth.read_bandwidth(machine, home() / "bandwidth"),
        max(machine.caches.values(), default=0) or None,
    )
