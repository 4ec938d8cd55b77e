"""Recommend recipes for a model from the machine, the device catalogue and the history. Nothing is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgehone.backends import registry
from edgehone.backends.base import Effort
from edgehone.device.detect import detect
from edgehone.inputs import workload
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.optimize.context import effort_settings
from edgehone.optimize.context_setup import reference_backend_for
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.fitting import (
    NO_LIMITS,
    at_most,
    fitting_of,
    free_disk,
    free_memory,
    memory_limit,
)
from edgehone.optimize.predict.target import known_about, target_of, this_machine
from edgehone.plan import matrix
from edgehone.plan.recommend import Recommendation, recommend
from edgehone.plan.run_cost import RunLimits
from edgehone.plan.target import PredictionTarget


def advise(
    model: str | Path,
    config: Mapping[str, Any],
    *,
    device: str | None = None,
    work: str | None = None,
    effort: Effort = "normal",
    backends: Sequence[str] | None = None,
    limits: RunLimits = NO_LIMITS,
) -> tuple[ModelInfo, PredictionTarget, Recommendation, str | None]:
    """Return the model, the device, the recipes that `optimize` would try, and a note on the workload.

    Raises InputError for an unknown device or workload, ModelError for a model that nothing takes.
    """
    info = inspect(model)
    machine = detect()
    this = this_machine(machine)
    target = target_of(device, config) or this
    evaluator = evaluator_for(info)
    fitted, note = workload.fit(
        workload.load(work or evaluator.default_workload(info), config, info.kind), info.context
    )
    origin = reference_backend_for(info)
    free = at_most(free_memory(machine), limits.memory)
    fitted_to = replace(limits, memory=memory_limit(machine, limits.memory))
    taken = {name: one for name, one in registry.load_all(backends).items() if name != origin.NAME}
    recommendation = recommend(
        info,
        taken,
        effort,
        target=target,
        work=fitted,
        matrix=matrix.load(config),
        known=replace(known_about(machine, this, free), **free_disk(limits.disk)),
        fitting=fitting_of(info, origin, effort, effort_settings(effort, config), fitted_to),
    )
    return info, target, recommendation, note
