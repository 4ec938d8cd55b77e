"""A trial: a recipe under evaluation, with its results so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from edgehone.backends.base import Recipe
from edgehone.core.errors import EdgehoneError, JobError, MachineBusy, NothingToGain, SetupError
from edgehone.core.events import Event
from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate, Conversion
from edgehone.execution.store import JobResult
from edgehone.model import extremes
from edgehone.model.info import ModelInfo
from edgehone.optimize.context import RunContext

Status = Literal["ok", "failed", "disqualified", "skipped"]


@dataclass
class Trial:
    """The results of one recipe so far. A failure in a step ends the trial, not the run."""

    recipe: Recipe
    status: Status = "ok"
    error: str | None = None
    log: str | None = None
    artifact: JobResult | None = None
    score: JobResult | None = None
    bytes: int | None = None
    figures: dict[str, Figure] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    conversion: Conversion | None = None  # result of the parity check, for a backend's exact recipe
    samples: dict[str, Any] = field(default_factory=dict)  # raw samples, for the bundle's evidence

    @property
    def alive(self) -> bool:
        """Return True if the trial has not failed and was not skipped or disqualified."""
        return self.status == "ok"

    def candidate(self) -> Candidate:
        """Return the trial as a candidate of a decision, without verdicts."""
        return Candidate(
            key=self.recipe.key,
            backend=self.recipe.backend,
            recipe=self.recipe.to_json(),
            status=self.status,
            error=self.error,
            log=self.log,
            bytes=self.bytes,
            figures=self.figures,
            facts=self.facts,
        )

    def drop(self, status: Status, error: str, log: str | None = None) -> None:
        """End the trial."""
        self.status, self.error, self.log = status, error, log


@contextmanager
def guarded(ctx: RunContext, trial: Trial) -> Iterator[None]:
    """End the trial, and emit the failure, if a job inside the block fails.

    A SetupError (full disk) and a MachineBusy end the run.
    """
    try:
        yield
    except JobError as error:
        message = error.message + _cause_of_infinity(ctx.model, error.message)
        trial.drop("failed", message, str(error.log) if error.log else None)
        ctx.emit(Event(trial.recipe.key, "failed", message))
    except NothingToGain as error:
        trial.drop("skipped", error.message)
        ctx.emit(Event(trial.recipe.key, "skipped", error.message))
    except (SetupError, MachineBusy):
        raise
    except EdgehoneError as error:
        trial.drop("failed", error.message)
        ctx.emit(Event(trial.recipe.key, "failed", error.message))


def _cause_of_infinity(model: ModelInfo, message: str) -> str:
    """Return what to add to the error of a candidate whose logits are not finite; "" for other errors."""
    if "non-finite logits" not in message or model.format != "huggingface":
        return ""
    beyond = extremes.beyond_float16(model.folder, model.files)
    if beyond is None:
        return f" (no weight is beyond float16's {extremes.FLOAT16_MAX:.0f}: an activation may be)"
    file, name, value = beyond
    return f": {name!r} in {file} holds {value:.3g}, and float16 holds at most {extremes.FLOAT16_MAX:.0f}"
