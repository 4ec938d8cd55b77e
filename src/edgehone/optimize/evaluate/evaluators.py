"""What differs between kinds of models: a module each, with the same functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from edgehone.backends.base import Recipe
from edgehone.core.figure import Figure
from edgehone.decision.requirements import Requirements
from edgehone.evaluation import speed
from edgehone.evaluation.quality import ParityCheck
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.model.info import Kind, ModelInfo
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import graph, language
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Evaluator(Protocol):
    """How models of a kind are judged and measured: `optimize.language`, `optimize.graph`."""

    def default_workload(self, model: ModelInfo) -> str:
        """The workload where none is named."""
        ...

    def inputs(self, options: OptimizeOptions, model: ModelInfo) -> dict[str, Input]:
        """What the user gave to judge and calibrate on, checked before anything slow begins."""
        ...

    def prepare(self, ctx: RunContext) -> tuple[RunContext, JobResult]:
        """That, made into what every backend is fed; the bench returned offers `calibration` to builds."""
        ...

    def reference(self, ctx: RunContext, prepared: JobResult) -> Original:
        """The original's answers, and itself as the baseline."""
        ...

    def score(self, ctx: RunContext, original: Original, recipe: Recipe, artifact: Input) -> JobResult:
        """A candidate's answers."""
        ...

    def prescreen(
        self, ctx: RunContext, original: Original, recipe: Recipe, artifact: JobResult
    ) -> dict[str, Figure]:
        """Quality figures of a small part, where that is worth its time."""
        ...

    def kept_by_window(self, original: Original, trial: Trial) -> NDArray[np.float64] | None:
        """The quality kept, a number for each independent sample; None where it cannot be paired."""
        ...

    def fill_quality(self, original: Original, trial: Trial, scored: JobResult) -> None:
        """Fill a trial's quality figures."""
        ...

    def parity_check(
        self, original: Original, exact: Trial, scored: JobResult, required: Requirements
    ) -> ParityCheck:
        """Whether the unquantized build is the original."""
        ...

    def speed_figures(self, original: Original, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
        """What the rounds' requests tell."""
        ...

    def asked(self, original: Original) -> speed.Request:
        """What a request is."""
        ...

    def summary(self, trial: Trial) -> str:
        """The quality in a word, for the live table."""
        ...


_EVALUATORS: Mapping[Kind, Evaluator] = {
    "language": cast(Evaluator, language),
    "graph": cast(Evaluator, graph),
}


def score_original(ctx: RunContext) -> tuple[RunContext, Original]:
    """Prepare the evaluation data and run the original on it.

    Returns the run context with the calibration data for builds, and the original as reference and baseline.
    """
    evaluator = evaluator_for(ctx.model)
    ctx, prepared = evaluator.prepare(ctx)
    return ctx, evaluator.reference(ctx, prepared)


def evaluator_for(model: ModelInfo) -> Evaluator:
    """How this model is judged."""
    return _EVALUATORS[model.kind]
