"""Evaluators: how each kind of model is evaluated. Each is a module with the functions of `Evaluator`."""

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
    """The functions of an evaluator; the modules `language` and `graph` have them."""

    def default_workload(self, model: ModelInfo) -> str:
        """Return the name of the workload to use if none is given."""
        ...

    def samples_asked(self, model: ModelInfo) -> str | None:
        """Return what a user must give with --eval, as a word and what it stands for; None if data ships for it."""
        ...

    def inputs(self, options: OptimizeOptions, model: ModelInfo) -> dict[str, Input]:
        """Check the user's evaluation and calibration data, and return them as job inputs."""
        ...

    def prepare(self, ctx: RunContext) -> tuple[RunContext, JobResult]:
        """Turn the data into token ids or arrays. The returned context offers `calibration` to builds."""
        ...

    def reference(self, ctx: RunContext, prepared: JobResult) -> Original:
        """Run the original on the evaluation data; return its outputs as reference, and itself as baseline."""
        ...

    def score(self, ctx: RunContext, original: Original, recipe: Recipe, artifact: Input) -> JobResult:
        """Run a candidate on the evaluation data."""
        ...

    def prescreen(
        self, ctx: RunContext, original: Original, recipe: Recipe, artifact: JobResult
    ) -> dict[str, Figure]:
        """Return quality figures from a small part of the evaluation data, if that saves time; else {}."""
        ...

    def kept_by_window(self, original: Original, trial: Trial) -> NDArray[np.float64] | None:
        """Return the quality kept per evaluation window; None if candidates cannot be compared by windows."""
        ...

    def fill_quality(self, original: Original, trial: Trial, scored: JobResult) -> None:
        """Set a trial's quality figures."""
        ...

    def parity_check(
        self, original: Original, exact: Trial, scored: JobResult, required: Requirements
    ) -> ParityCheck:
        """Check that the unquantized build gives the outputs of the original."""
        ...

    def speed_figures(self, original: Original, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
        """Return the speed figures from the requests of all rounds."""
        ...

    def request_shape(self, original: Original) -> speed.Request:
        """Return the lengths, batch size and concurrency of a request."""
        ...

    def summary(self, trial: Trial) -> str:
        """Return the quality in a few characters, for the live table."""
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
    """Return the evaluator for this kind of model."""
    return _EVALUATORS[model.kind]
