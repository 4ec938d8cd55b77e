"""Let the store forget the bulky intermediate results of a run, within the limit of `edgehone.execution.pruning`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from edgehone.core.events import silent
from edgehone.execution import pruning
from edgehone.execution.store import JobResult
from edgehone.optimize import build
from edgehone.optimize.context import RunContext
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial


def discard(ctx: RunContext, original: Original, trials: Sequence[Trial]) -> None:
    """Mark the results that only other steps read, and the original's logits; remove the oldest beyond the limit.

    The artifacts of all candidates stay, and what they link to.
    """
    quiet = replace(ctx, emit=silent)  # looking the steps up builds nothing
    built = {t.artifact.key: (t, t.artifact) for t in [original.baseline, *trials] if t.artifact}
    artifacts = [artifact for _, artifact in built.values()]
    linked = _linked(artifacts)
    for artifact in artifacts:
        pruning.unmark(artifact)
    for trial, _ in built.values():
        for result in build.intermediates(quiet, trial.recipe) if trial.alive else ():
            if result.key not in built and result.folder.resolve() not in linked:
                pruning.mark(result, result.out.rglob("*"))
    pruning.mark(original.reference, original.reference.out.glob("*.npy"))
    pruning.prune()


def _linked(artifacts: Iterable[JobResult]) -> set[Path]:
    """Return the folders of jobs that links in artifacts lead to."""
    targets = (path.resolve() for one in artifacts for path in one.out.rglob("*") if path.is_symlink())
    return {parent for target in targets for parent in target.parents}
