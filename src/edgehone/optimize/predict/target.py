"""The prediction target of a run: a device of the catalogue, or this machine, with the observations made on it."""

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
from edgehone.plan.build_time import Build, converts, rounded_to
from edgehone.plan.calibration import Observation, observe
from edgehone.plan.expect import Known
from edgehone.plan.roofline import Demand
from edgehone.plan.target import PredictionTarget

REMOTE = "ssh://"


def target_of(word: str | None, config: Mapping[str, Any]) -> PredictionTarget | None:
    """Return the device of the catalogue that `--device` names; None for this machine, where everything is measured.

    Raises InputError for an unknown name, with the closest known one.
    """
    if word is None:
        return None
    if word.startswith(REMOTE):
        raise InputError(
            f"--device {word}: only optimize connects to a machine; this verb needs a device of the catalogue",
            hint="edgehone device list",
        )
    return PredictionTarget.from_catalogue(catalogue.find(word, config))


def this_machine(machine: Device) -> PredictionTarget:
    """Return this machine as a target, with its measured bandwidth and float rate (measured once, then stored)."""
    mhz = read_conditions().mean_mhz
    return PredictionTarget(
        "this machine",
        catalogue.platform_row(machine),
        machine.simd or (),
        machine.threads,
        machine.usable_memory_bytes,
        bandwidth.read_bandwidth(machine, home() / "bandwidth"),
        compute.float_rate(machine, home() / "compute"),
        Figure.missing("recipes on this machine are measured on the processor", compute.UNIT),
        mhz / 1000 if mhz else None,
        max(machine.caches.values(), default=0) or None,
    )


def known_about(machine: Device, this: PredictionTarget, free_memory: int | None) -> Known:
    """Return the history's facts about this machine: observed shares, and durations of builds."""
    observations: list[Observation] = []
    for demand, trial in _studied(machine.fingerprint):
        recipe = trial.recipe
        rate, first = (_value(trial, name) for name in ("decode_tokens_per_s", "ttft_ms"))
        size, bits = trial.bytes, trial.bits
        if one := observe(demand, recipe["backend"], bits, size=size, decode=rate, ttft_ms=first, here=this):
            observations.append(one)
    return Known(this, tuple(observations), builds(machine), free_memory, shutil.disk_usage(home()).free)


def builds(machine: Device) -> tuple[Build, ...]:
    """Return the builds that were timed on this machine, without those whose number of rounded weights is not known."""
    return tuple(
        Build(
            trial.recipe["backend"],
            trial.calibrated,
            demand.parameters,
            took,
            rounded_to(build),
            converts(build),
        )
        for demand, trial in _studied(machine.fingerprint)
        if (took := trial.facts.get("build_seconds")) and _is_whole(build := trial.recipe["build"])
    )


def _is_whole(build: Mapping[str, Any]) -> bool:
    """Return whether a build rounds all weights once: no draft, and not only some tensors of a file, or none."""
    partly = {"lower", "draft"} & build.keys()
    return not partly and (converts(build) or "type" in build)


def _studied(fingerprint: str) -> Iterator[tuple[Demand, history.TrialRecord]]:
    for study in history.studies():
        asks = study.about.get("asks")
        if asks and study.about.get("device") == fingerprint:
            for trial in study.trials.values():
                # Variants of runtime settings are not representative of a runtime, nor are accelerators with their
                # own memory.
                if "tuned_from" not in trial.facts and "device" not in trial.recipe["settings"]:
                    yield Demand(**asks), trial


def _value(trial: history.TrialRecord, name: str) -> float | None:
    return trial.figures[name].value if name in trial.figures else None
