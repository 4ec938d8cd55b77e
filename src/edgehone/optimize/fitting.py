"""Fit the plan of a run to the machine: free memory and disk, `--memory`, `--disk`, and the time of the effort."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TypedDict

from edgehone.backends.base import Effort, ReferenceBackend
from edgehone.device.facts import Device
from edgehone.execution.home import home
from edgehone.model.info import ModelInfo
from edgehone.optimize.context import EffortSettings
from edgehone.plan.recommend import Fitting
from edgehone.plan.run_cost import Measuring, RunLimits, promised

NO_LIMITS = RunLimits()


class _Disk(TypedDict):
    free_disk: int


def free_memory(machine: Device) -> int | None:
    """Return the bytes that are free now, within the control group's limit; None if the machine does not say."""
    known = (machine.memory_available_bytes, machine.memory_limit_bytes)
    return min((size for size in known if size is not None), default=None)


def at_most(free: int | None, limit: int | None) -> int | None:
    """Return the lesser of two sizes, each of which may be unknown."""
    return min((size for size in (free, limit) if size is not None), default=None)


def free_disk(limit: int | None) -> _Disk:
    """Return what the store may take of the disk: the free bytes, at most the limit."""
    free = shutil.disk_usage(home()).free
    return {"free_disk": free if limit is None else min(free, limit)}


def fitting_of(
    model: ModelInfo, origin: ReferenceBackend, effort: Effort, settings: EffortSettings, limits: RunLimits
) -> Fitting | None:
    """Return what the plan is fitted to; None for models that generate no text, whose time is not predicted.

    `limits` are the user's for memory and disk; without them nothing is left out for these two, since much may be in
    the store already. The time is the effort's promise.
    """
    if model.kind != "language":
        return None
    measuring = Measuring(
        settings.windows * settings.window, settings.rounds, settings.seconds, settings.budget
    )
    whole = RunLimits(promised(settings.promise, model), limits.memory, limits.disk)
    stored = 8 * model.bytes / model.parameters if model.parameters else None
    return Fitting(effort, measuring, whole, replace(origin.original(model), bits=stored))
