"""Advise: a recommendation for a model, from the machine, the catalogue and the history. Nothing is built."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgehone import device as devices
from edgehone.backends import registry
from edgehone.backends.base import Effort
from edgehone.figure import Figure
from edgehone.jobs.home import home
from edgehone.measure import workload
from edgehone.model import ModelInfo, inspect
from edgehone.plan import matrix, roofline
from edgehone.plan.recommend import Recommendation, recommend
from edgehone.plan.target import Target
from edgehone.stages import history
from edgehone.stages.kinds import judge_of
from edgehone.stages.setup import free_memory, origin_of
from edgehone.stages.target import here, target_of


def advise(
    model: str | Path,
    config: Mapping[str, Any],
    *,
    device: str | None = None,
    work: str | None = None,
    effort: Effort = "normal",
    backends: Sequence[str] | None = None,
) -> tuple[ModelInfo, Target, Recommendation, str | None]:
    """What `optimize` would try for this machine, or for a device of the catalogue; and a note of the workload.

    Raises InputError for an unknown device or workload, ModelError for a model that nothing takes.
    """
    info = inspect(model)
    machine = devices.detect()
    target = target_of(device, config) or here(machine)
    judge = judge_of(info)
    asked, note = workload.fit(
        workload.load(work or judge.default_workload(info), config, info.kind), info.context
    )
    origin = origin_of(info)
    taken = {name: one for name, one in registry.load_all(backends).items() if name != origin.NAME}
    found = recommend(
        info,
        taken,
        effort,
        target=target,
        work=asked,
        matrix=matrix.load(config),
        reached=reached(info, machine.fingerprint, here(machine).bandwidth),
        free_memory=free_memory(machine),
        free_disk=shutil.disk_usage(home()).free,
    )
    return info, target, found, note


def reached(model: ModelInfo, fingerprint: str, measured: Figure) -> dict[str, list[float]]:
    """The shares of the bandwidth that this machine's own trials reached, by backend; of models beyond the caches."""
    found: dict[str, list[float]] = {}
    if measured.value is None:
        return found
    least = roofline.least_bytes()
    for study in history.studies():
        if study.about.get("device") != fingerprint:
            continue
        for told in study.trials.values():
            rate = told["figures"].get("decode_tokens_per_s", {}).get("value")
            # Settings that were tried and left do not tell what a runtime reaches.
            if "tuned_from" in told["facts"]:
                continue
            if rate and told["bytes"] and told["bytes"] >= least:
                share = rate * told["bytes"] / (measured.value * 1e9)
                found.setdefault(told["recipe"]["backend"], []).append(share)
    return found
