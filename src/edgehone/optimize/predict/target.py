"""Whom a run is for: this machine, or a device of the catalogue that speed and memory are predicted for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from edgehone.core.errors import InputError
from edgehone.core.figure import Figure
from edgehone.device import bandwidth, catalogue, compute
from edgehone.device.facts import Device
from edgehone.device.throttle import read_conditions
from edgehone.execution.home import home
from edgehone.optimize.search import history
from edgehone.plan.building import Build
from edgehone.plan.calibration import Observation, observe
from edgehone.plan.recommend import Known
from edgehone.plan.roofline import Demand
from edgehone.plan.target import PredictionTarget

REMOTE = "ssh://"


def target_of(word: str | None, config: Mapping[str, Any]) -> PredictionTarget | None:
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
    return PredictionTarget.from_catalogue(catalogue.find(word, config))


def here(machine: Device) -> PredictionTarget:
    """This machine as a target, its bandwidth and its float rate measured (once, then kept)."""
    mhz = read_conditions().mean_mhz
    return PredictionTarget(
        "this machine",
        catalogue.platform_row(machine),
        machine.simd or (),
        machine.threads,
        machine.usable_memory_bytes,
        bandwidth.read_bandwidth(machine, home() / "bandwidth"),
        compute.float_rate(machine, home() / "compute"),
        Figure.missing("what runs here is measured on the processor", compute.UNIT),
        mhz / 1000 if mhz else None,
        max(machine.caches.values(), default=0) or None,
    )


def known(machine: Device, at: PredictionTarget, free_memory: int | None) -> Known:
    """What the history of this machine tells: what was reached on it, and how long builds took."""
    found: list[Observation] = []
    for asked, told in _told(machine.fingerprint):
        recipe = told.recipe
        rate, first = (_value(told, name) for name in ("decode_tokens_per_s", "ttft_ms"))
        size, bits = told.bytes, told.bits
        if one := observe(asked, recipe["backend"], bits, size=size, decode=rate, ttft_ms=first, here=at):
            found.append(one)
    return Known(at, tuple(found), builds(machine), free_memory, shutil.disk_usage(home()).free)


def builds(machine: Device) -> tuple[Build, ...]:
    """Those that were timed on this machine."""
    return tuple(
        Build(told.recipe["backend"], told.calibrated, asked.parameters, took)
        for asked, told in _told(machine.fingerprint)
        if (took := told.facts.get("build_seconds"))
    )


def _told(fingerprint: str) -> Iterator[tuple[Demand, history.TrialRecord]]:
    for study in history.studies():
        asks = study.about.get("asks")
        if asks and study.about.get("device") == fingerprint:
            for told in study.trials.values():
                # Settings that were tried do not tell what a runtime reaches, nor do accelerators with a memory of
                # their own.
                if "tuned_from" not in told.facts and "device" not in told.recipe["settings"]:
                    yield Demand(**asks), told


def _value(told: history.TrialRecord, name: str) -> float | None:
    return told.figures[name].value if name in told.figures else None
