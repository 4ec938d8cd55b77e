"""What differs between kinds of models: a module each, with the same functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from edgehone.backends.base import Recipe
from edgehone.decide.requirements import Requirements
from edgehone.figure import Figure
from edgehone.jobs.run import Input
from edgehone.jobs.store import JobResult
from edgehone.measure import speed
from edgehone.measure.quality import NullTest
from edgehone.model.info import Kind, ModelInfo
from edgehone.stages import graph, language
from edgehone.stages.bench import Bench
from edgehone.stages.original import Original
from edgehone.stages.request import Request
from edgehone.stages.trial import Trial

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Judge(Protocol):
    """How models of a kind are judged and measured: `stages.language`, `stages.graph`."""

    def default_workload(self, model: ModelInfo) -> str:
        """The workload where none is named."""
        ...

    def inputs(self, request: Request, model: ModelInfo) -> dict[str, Input]:
        """What the user gave to judge and calibrate on, checked before anything slow begins."""
        ...

    def prepare(self, bench: Bench) -> tuple[Bench, JobResult]:
        """That, made into what every backend is fed; the bench returned offers `calibration` to builds."""
        ...

    def reference(self, bench: Bench, prepared: JobResult) -> Original:
        """The original's answers, and itself as the baseline."""
        ...

    def score(self, bench: Bench, original: Original, recipe: Recipe, artifact: Input) -> JobResult:
        """A candidate's answers."""
        ...

    def glance(
        self, bench: Bench, original: Original, recipe: Recipe, artifact: JobResult
    ) -> dict[str, Figure]:
        """Quality figures of a small part, where that is worth its time."""
        ...

    def kept_by_window(self, original: Original, trial: Trial) -> NDArray[np.float64] | None:
        """The quality kept, a number for each independent sample; None where it cannot be paired."""
        ...

    def judge(self, original: Original, trial: Trial, scored: JobResult) -> None:
        """Fill a trial's quality figures."""
        ...

    def null_test(
        self, original: Original, exact: Trial, scored: JobResult, required: Requirements
    ) -> NullTest:
        """Whether the unquantized build is the original."""
        ...

    def speed_figures(self, original: Original, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
        """What the rounds' requests tell."""
        ...

    def asked(self, original: Original) -> speed.Asked:
        """What a request is."""
        ...

    def summary(self, trial: Trial) -> str:
        """The quality in a word, for the live table."""
        ...


_JUDGES: Mapping[Kind, Judge] = {"language": cast(Judge, language), "graph": cast(Judge, graph)}


def judge_of(model: ModelInfo) -> Judge:
    """How this model is judged."""
    return _JUDGES[model.kind]
