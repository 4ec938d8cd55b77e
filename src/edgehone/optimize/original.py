"""The original: what every candidate is compared with, and the baseline that it must beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgehone.core.errors import JobError
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.optimize.trial import Trial


@dataclass(frozen=True)
class Original:
    """What every candidate is compared with.

    `prepared` holds what it is judged on (token ids, or samples), `reference` the original's log-probabilities or
    outputs. `request` and `given` are the arguments and inputs of a request in speed, memory and energy (see
    `measure.requests`), `facts` what else its kind keeps of it.
    """

    prepared: JobResult
    reference: JobResult
    baseline: Trial
    request: Mapping[str, Any]
    given: Mapping[str, Input] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def require_baseline(self) -> None:
        """Raise JobError where the original itself failed: without it nothing can be compared."""
        if not self.baseline.alive:
            log = Path(self.baseline.log) if self.baseline.log else None
            raise JobError(
                f"the original itself fails: {self.baseline.error}",
                log=log,
                hint=f"edgehone backends check {self.baseline.recipe.backend}",
            )
