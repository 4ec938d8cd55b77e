"""The core's side of metrics that libraries compute: their environment, the job, and figures of its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from edgehone.backends.base import Needs
from edgehone.core.figure import Figure
from edgehone.evaluation.metrics import Metric
from edgehone.evaluation.roles import OutputRole
from edgehone.execution.environments import environment
from edgehone.execution.job import Input, Job
from edgehone.execution.run import run
from edgehone.worker.library_metrics import LEAST_RESAMPLES, share_kept

NAME = "metrics"
NEEDS = Needs(
    lock=Path(__file__).with_name("metrics_lock.txt"),
    versions=("scikit-learn", "scipy", "jiwer", "faster-coco-eval"),
)


def figures(
    metric: Metric,
    judged: OutputRole,
    inputs: Mapping[str, Input],
    *,
    alphabet: str | None,
    on_progress: Callable[[str], None],
) -> dict[str, Figure]:
    """Return the metric and accuracy_kept of a candidate, with intervals from a paired bootstrap of the samples.

    `judged` is the output that the metric judges. inputs: reference and candidate (outputs), samples (with labels). The
    environment is installed on the first call. Raises JobError for labels that the metric does not accept.
    """
    env = environment.ensure(NAME, NEEDS, on_progress)
    args = {
        "metric": metric.name,
        "output": judged.layout.boxes if judged.layout else judged.name,
        "role": judged.role,
        "layout": asdict(judged.layout) if judged.layout else None,
        "alphabet": alphabet,
    }
    done = run(Job("edgehone.worker.library_metrics:compare", env, args, inputs)).facts
    value, base, count = done["value"], done["base"], done["samples"]
    figure = _figure(value, done["values"], count, metric.unit)
    part = share_kept(metric.name, value, base)
    if part is None:
        kept = Figure.missing(
            f"the original's {metric.name} is {base:.3g}: there is nothing to keep", "ratio"
        )
    else:
        kept = _figure(part, done["kept"], count, "ratio")
    return {metric.name: figure, "accuracy_kept": kept}


def _figure(value: float, resampled: list[float], count: int, unit: str) -> Figure:
    import numpy as np

    if len(resampled) < LEAST_RESAMPLES:  # too many lacked a class: no interval
        return Figure(value, n=count, unit=unit)
    low, high = (float(end) for end in np.percentile(resampled, [2.5, 97.5]))
    return Figure(value, min(low, value), max(high, value), count, unit)
