"""The original model: the reference for quality, and the baseline for speed and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgehone.core.errors import JobError, ModelError
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.optimize.trial import Trial


@dataclass(frozen=True)
class Original:
    """The results of the original, with which every candidate is compared.

    `prepared` holds what it is judged on (token ids, or samples), `reference` the original's log-probabilities or
    outputs. `request` and `inputs` are the arguments and inputs of a request in speed, memory and energy (see
    `measure.requests`), `facts` what else its kind keeps of it.
    """

    prepared: JobResult
    reference: JobResult
    baseline: Trial
    request: Mapping[str, Any]
    inputs: Mapping[str, Input] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def require_baseline(self) -> None:
        """Raise JobError if the baseline failed: without it no candidate can be compared."""
        if not self.baseline.alive:
            log = Path(self.baseline.log) if self.baseline.log else None
            raise JobError(
                f"the original fails: {self.baseline.error}",
                log=log,
                hint=f"edgehone backends check {self.baseline.recipe.backend}",
            )


def refuse_differing(path: Path, differs: str | None) -> None:
    """Raise ModelError if the original gave other results when it was run again; `differs` says which."""
    if differs:
        raise ModelError(
            f"the original {path} differs from itself: run twice on the same input, {differs}; no candidate can be "
            "compared with it",
            hint="export it in evaluation mode (model.eval(), so that dropout is off) and without random operators; "
            "if an input scales the noise that it draws, give samples with 0 for it",
        )
