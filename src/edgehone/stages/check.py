"""Check: build each recipe and prove it against the original, several side by side.

The null test comes first: a backend whose unquantized build is not the original is out for this model. Its other
recipes are not even built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from edgehone.backends.base import Recipe
from edgehone.decide.decision import CONVERSION_FIGURES, Conversion
from edgehone.decide.requirements import Requirements
from edgehone.events import Event
from edgehone.figure import Figure
from edgehone.jobs.processes import CHILDREN
from edgehone.jobs.run import Input
from edgehone.jobs.store import JobResult
from edgehone.measure import quality
from edgehone.stages.bench import Bench
from edgehone.stages.build import build, size_of
from edgehone.stages.original import Original
from edgehone.stages.trial import Trial, guarded


def check(bench: Bench, original: Original, trials: Sequence[Trial], requirements: Requirements) -> None:
    """Fill artifact, size and quality figures of the baseline and of every trial."""
    bench.emit(Event("", detail=f"building {len(trials)} candidates and proving each against the original"))
    exact = [trial for trial in trials if trial.recipe.exact]
    with CHILDREN.pool(_side_by_side(bench)) as pool:
        list(pool.map(lambda trial: build_and_score(bench, original, trial), [original.baseline, *exact]))
        original.require_baseline()
        for trial in exact:
            _null_test(bench, original, trial, trials, requirements)
        rest = [trial for trial in trials if trial.alive and not trial.recipe.exact]
        list(pool.map(lambda trial: build_and_score(bench, original, trial), rest))


def build_and_score(
    bench: Bench, original: Original, trial: Trial, make: Callable[[Bench, Recipe], JobResult] = build
) -> None:
    """Fill a trial's artifact (by `make`), size and quality figures."""
    recipe = trial.recipe
    with guarded(bench, trial):
        trial.artifact = make(bench, recipe)
        trial.bytes = size_of(trial.artifact)
        trial.facts.update(trial.artifact.facts)
        inputs = {"artifact": trial.artifact, "prepared": original.prepared, "reference": original.reference}
        trial.score = bench.run(
            recipe.backend,
            "edgehone.measure.score:score",
            {"settings": dict(recipe.settings), "sample": True},
            {name: Input.of(result) for name, result in inputs.items()},
            opens=True,
            tell=bench.tell(recipe, "scoring"),
        )
        trial.facts["kl_is_lower_bound"] = trial.score.facts["kl_is_lower_bound"]
        trial.figures.update(quality.figures(original.reference.out, trial.score.out))
        kl = trial.figures["kl_mean"].value
        bench.emit(Event(recipe.key, "waiting", f"{trial.bytes / 1e6:.1f} MB, KL {kl:.2g}"))


def _null_test(
    bench: Bench, original: Original, exact: Trial, trials: Iterable[Trial], requirements: Requirements
) -> None:
    """Judge a backend by its exact recipe; on failure every recipe of the backend is out."""
    if exact.score is None:
        reason = f"its unquantized build failed: {exact.error}"
        passed, ids_equal = False, None
    else:
        ids = exact.score.facts["sample_ids"]
        test = quality.null_test(original.sample_ids, ids, exact.figures, requirements.null_test)
        reason, passed, ids_equal = test.reason, test.ok, test.ids_equal
        exact.facts["null_test"] = reason
    exact.conversion = _conversion(exact, passed, reason, ids_equal)
    if passed:
        return
    for trial in trials:
        if trial.recipe.backend == exact.recipe.backend and trial.alive:
            trial.drop("disqualified", f"{trial.recipe.backend} fails the null test: {reason}")
            bench.emit(Event(trial.recipe.key, "disqualified", reason))


def _conversion(exact: Trial, passed: bool, reason: str, ids_equal: bool | None) -> Conversion:
    """What the null test saw, for the table of all backends."""
    scored = exact.score.facts if exact.score else {}
    figures = {n: exact.figures.get(n) or Figure.missing(reason) for n in CONVERSION_FIGURES}
    return Conversion(
        exact.recipe.backend,
        exact.recipe.key,
        ids_equal,
        **figures,
        passed=passed,
        reason=reason,
        compared=scored.get("compared"),
        vocabulary=scored.get("vocabulary"),
    )


def _side_by_side(bench: Bench) -> int:
    """How many builds at once: never more than the cores, nor than fit in memory at three models each."""
    memory = bench.device.memory_available_bytes or bench.device.usable_memory_bytes or 0
    fitting = memory // (3 * max(bench.model.bytes, 1 << 28))
    return max(1, min(bench.device.threads, 4, fitting))
