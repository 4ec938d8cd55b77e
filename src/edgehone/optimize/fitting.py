"""Fit the plan of a run to the machine: free memory and disk, `--memory`, `--disk`, and the time of the effort."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from typing import TypedDict

from edgehone.backends.base import Effort, ReferenceBackend
from edgehone.device.facts import Device
from edgehone.execution.home import home
from edgehone.model.info import ModelInfo
from edgehone.optimize.context import EffortSettings
from edgehone.optimize.evaluate.speed_rounds import MIN_ROUNDS
from edgehone.plan.recommend import Fitting
from edgehone.plan.run_cost import Measuring, RunLimits, promised
from edgehone.worker.speed import requests_seconds

NO_LIMITS = RunLimits()
# The share of the memory free at the start of the run that one job may use; the rest is left to the system.
MEMORY_SHARE = 0.9


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


def memory_limit(machine: Device, wanted: int | None) -> int | None:
    """Return the bytes that a job may take: those the user named, within what the control group lets a run have.

    A group kills what exceeds it, so its limit counts as if the user had named it. None without either.
    """
    group = machine.memory_limit_bytes
    return at_most(wanted, None if group is None else int(group * MEMORY_SHARE))


def fitting_of(
    model: ModelInfo, origin: ReferenceBackend, effort: Effort, settings: EffortSettings, limits: RunLimits
) -> Fitting | None:
    """Return what the plan is fitted to; None for models that generate no text, whose time is not predicted.

    `limits` are those of memory (`memory_limit`) and disk; without them nothing is left out for these two, since much
    may be in the store already. The time is the effort's promise.
    """
    if model.kind != "language":
        return None
    measuring = Measuring(
        settings.windows * settings.window,
        settings.rounds,
        settings.budget,
        MIN_ROUNDS,
        partial(requests_seconds, least=settings.seconds),
        settings.tuning,
    )
    whole = RunLimits(promised(settings.promise, model), limits.memory, limits.disk)
    stored = 8 * model.bytes / model.parameters if model.parameters else None
    fewest = min(settings.least_windows, settings.windows) * settings.window
    return Fitting(effort, measuring, whole, replace(origin.original(model), bits=stored), fewest)


def with_tokens(settings: EffortSettings, tokens: int) -> EffortSettings:
    """Return the settings with as many windows as the plan was fitted to."""
    return replace(settings, windows=tokens // settings.window)
