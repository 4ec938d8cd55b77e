"""Choose the recipe to try next with Optuna's tree-structured Parzen estimator (TPE) over properties of recipes.

A recipe is a point in three dimensions: backend and device, class of bits per weight, and whether it is calibrated. The
estimator learns from proven recipes which points deserve more trials. Among the recipes at the suggested point, the
order of the plan decides. The plan also provides the first trials: for each backend the first recipe without
calibration, because such builds are fast and give an early result, then the first recipe of all.

Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (2011), as implemented in
optuna.samplers.TPESampler.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe

if TYPE_CHECKING:
    import optuna

SEED = 20240601
# Upper ends of the classes of bits per weight.
_CLASSES = (2.5, 3.5, 4.75, 5.75, 7.0, 9.0, 17.0)


class Sampler:
    """Suggests recipes one at a time, each once, and learns from their results."""

    def __init__(self, recipes: Sequence[Recipe], objectives: int) -> None:
        """`recipes` in order of promise. Each `tell` takes `objectives` values to minimize."""
        self._remaining = {recipe.key: recipe for recipe in recipes}
        self._running: dict[str, optuna.Trial] = {}
        self._points = [_point(recipe) for recipe in recipes]
        plain: dict[str, str] = {}
        first: dict[str, str] = {}
        for recipe in recipes:
            first.setdefault(recipe.runs_on, recipe.key)
            if not recipe.calibrated:
                plain.setdefault(recipe.runs_on, recipe.key)
        self._seeds = list(dict.fromkeys([*plain.values(), *first.values()]))
        self._study = _study(objectives, len(self._seeds))

    @property
    def exhausted(self) -> bool:
        """True if every recipe has been returned."""
        return not self._remaining

    def take(self, key: str) -> Recipe | None:
        """Return the recipe with this key, which an earlier run tried, or None if it was returned before."""
        if key not in self._remaining:
            return None
        self._study.enqueue_trial(_params(_point(self._remaining[key])))
        return self._start(self._remaining[key])

    def ask(self) -> Recipe:
        """Return the next recipe. Raises ValueError if all have been returned."""
        while self._seeds:
            if (recipe := self._remaining.get(self._seeds.pop(0))) is not None:
                self._study.enqueue_trial(_params(_point(recipe)))
                return self._start(recipe)
        trial = self._study.ask()
        wanted = self._suggest(trial)
        recipe = self._nearest(wanted)
        if _point(recipe) != wanted:
            # No recipe is left at this point. Record the result at the point of the recipe that is tried instead.
            self._study.tell(trial, state=_state("FAIL"))
            self._study.enqueue_trial(_params(_point(recipe)))
            return self._start(recipe)
        return self._start(recipe, trial)

    def tell(self, key: str, values: Sequence[float] | None, violations: Sequence[float] = ()) -> None:
        """Record the result of a recipe: the values of its objectives, or None if it has none.

        `violations`: for each constraint, by how much it is violated; 0 or less if it is met.
        """
        trial = self._running.pop(key)
        for index, violation in enumerate(violations):
            trial.set_constraint(str(index), violation)
        if values is None:
            self._study.tell(trial, state=_state("FAIL"))
        else:
            self._study.tell(trial, list(values))

    def _start(self, recipe: Recipe, trial: optuna.Trial | None = None) -> Recipe:
        if trial is None:
            trial = self._study.ask()
            self._suggest(trial)
        self._running[recipe.key] = trial
        del self._remaining[recipe.key]
        return recipe

    def _suggest(self, trial: optuna.Trial) -> tuple[str, float, bool]:
        backend = trial.suggest_categorical("backend", sorted({p[0] for p in self._points}))
        bits = trial.suggest_categorical(
            f"{backend}.bits", sorted({p[1] for p in self._points if p[0] == backend})
        )
        tuned = trial.suggest_categorical(
            f"{backend}.{bits:g}.tuned", sorted({p[2] for p in self._points if p[:2] == (backend, bits)})
        )
        return str(backend), float(bits), bool(tuned)

    def _nearest(self, wanted: tuple[str, float, bool]) -> Recipe:
        """Return the first remaining recipe that is closest to the point, by backend, then bits, then calibration."""

        def distance(recipe: Recipe) -> tuple[bool, float, bool]:
            backend, bits, tuned = _point(recipe)
            return backend != wanted[0], abs(bits - wanted[1]), tuned != wanted[2]

        return min(self._remaining.values(), key=distance)


def _point(recipe: Recipe) -> tuple[str, float, bool]:
    bits = recipe.bits or 0.0
    return (
        recipe.runs_on,
        next((end for end in _CLASSES if bits <= end), 32.0) if bits else 0.0,
        recipe.calibrated,
    )


def _params(point: tuple[str, float, bool]) -> dict[str, Any]:
    backend, bits, tuned = point
    return {"backend": backend, f"{backend}.bits": bits, f"{backend}.{bits:g}.tuned": tuned}


def _study(objectives: int, seeds: int) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # `group` has been marked experimental in Optuna for years.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=SEED,
            multivariate=True,
            group=True,
            n_startup_trials=max(seeds, 4),
        )
    return optuna.create_study(sampler=sampler, directions=["minimize"] * objectives)


def _state(name: str) -> Any:
    import optuna

    return optuna.trial.TrialState[name]
