"""Validate a model: compare its unquantized conversions with the original, and measure the original."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from edgehone.core import config
from edgehone.core.figure import Figure
from edgehone.decision.decision import Conversion
from edgehone.optimize.evaluate import measure, parity
from edgehone.optimize.evaluate.evaluators import score_original
from edgehone.optimize.evaluate.speed_rounds import in_epoch
from edgehone.optimize.executors import open_executors
from edgehone.optimize.options import OptimizeOptions, Options
from edgehone.optimize.setup import requirements, set_up


@dataclass(frozen=True)
class Validated:
    """What validation found.

    `conversions` are the parity checks by backend, `baseline` the original's figures, `refused` the backends that do
    not take the model or are not ready, with the reasons.
    """

    conversions: tuple[Conversion, ...]
    baseline: dict[str, Figure]
    refused: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {
            "conversions": [one.to_json() for one in self.conversions],
            "baseline": {name: figure.to_json() for name, figure in self.baseline.items()},
            "refused": self.refused,
        }


def validate(model: str | Path, *, baseline: bool, **options: Unpack[Options]) -> Validated:
    """Convert a model without quantization by each backend, and compare it with the original.

    `baseline`: also measure the speed, memory and energy of the original. The options are those of `optimize`, which
    takes the jobs that this has run from the store. Raises the errors of `optimize`.
    """
    chosen = OptimizeOptions.of(model, options)
    settings = config.read(chosen.config_file)
    required = requirements(chosen, settings)
    with open_executors(chosen) as executors:
        setup = set_up(chosen, settings, executors, required)
        trials = [trial for trial in setup.trials() if trial.recipe.exact]
        ctx, original = score_original(in_epoch(setup.ctx, trials))
        parity.check_exact(ctx, original, trials, required)
        if baseline:
            measure.measure(ctx, original, [])
    found = tuple(trial.conversion for trial in trials if trial.conversion is not None)
    return Validated(found, dict(original.baseline.figures), {**setup.plan.refused, **setup.unready})
