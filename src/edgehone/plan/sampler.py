"""Which recipe to try next: Optuna's tree-structured Parzen estimator over what recipes have in common.

A recipe is a point: its backend and device, the class of its bits a weight, and whether it is tuned on the calibration
text. The estimator learns from what was proven which of these are worth more tries; among the recipes at the point that
it asks for, the plan's own order decides. The plan also seeds it: of each backend first the most promising recipe that
learns from no text, since such builds are done soon and something is proven then, and then the most promising of all.

Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (2011), as optuna.samplers.TPESampler has it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe

if TYPE_CHECKING:
    import optuna

SEED = 20240601
# Bits a weight, as classes: what lies up to a border behaves alike.
_BORDERS = (2.5, 3.5, 4.75, 5.75, 7.0, 9.0, 17.0)


class Sampler:
    """Asks for recipes one by one, each once, and learns from what it is told."""

    def __init__(self, recipes: Sequence[Recipe], objectives: int) -> None:
        """`recipes` in order of promise; each `tell` gives `objectives` values, less is better."""
        self._left = {recipe.key: recipe for recipe in recipes}
        self._open: dict[str, optuna.Trial] = {}
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
        """Whether every recipe was asked for."""
        return not self._left

    def take(self, key: str) -> Recipe | None:
        """That recipe, out of turn: what an earlier run tried is there already. None if it is not left."""
        if key not in self._left:
            return None
        self._study.enqueue_trial(_params(_point(self._left[key])))
        return self._asked(self._left[key])

    def ask(self) -> Recipe:
        """The next recipe. Raises KeyError when all were asked for."""
        while self._seeds:
            if (recipe := self._left.get(self._seeds.pop(0))) is not None:
                self._study.enqueue_trial(_params(_point(recipe)))
                return self._asked(recipe)
        trial = self._study.ask()
        wanted = self._suggest(trial)
        recipe = self._nearest(wanted)
        if _point(recipe) != wanted:
            # Nothing is left there: what is told must stand where it was found.
            self._study.tell(trial, state=_state("FAIL"))
            self._study.enqueue_trial(_params(_point(recipe)))
            return self._asked(recipe)
        return self._asked(recipe, trial)

    def tell(self, key: str, values: Sequence[float] | None, violations: Sequence[float] = ()) -> None:
        """What became of a recipe: its objectives' values, or None where it has none.

        `violations` are above 0 for each constraint that it breaks, by how much.
        """
        trial = self._open.pop(key)
        for index, violation in enumerate(violations):
            trial.set_constraint(str(index), violation)
        if values is None:
            self._study.tell(trial, state=_state("FAIL"))
        else:
            self._study.tell(trial, list(values))

    def _asked(self, recipe: Recipe, trial: optuna.Trial | None = None) -> Recipe:
        if trial is None:
            trial = self._study.ask()
            self._suggest(trial)
        self._open[recipe.key] = trial
        del self._left[recipe.key]
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
        """The first recipe left that has most in common with the point: its backend counts most, then its bits."""

        def far(recipe: Recipe) -> tuple[bool, float, bool]:
            backend, bits, tuned = _point(recipe)
            return backend != wanted[0], abs(bits - wanted[1]), tuned != wanted[2]

        return min(self._left.values(), key=far)


def _point(recipe: Recipe) -> tuple[str, float, bool]:
    bits = recipe.bits or 0.0
    return (
        recipe.runs_on,
        next((border for border in _BORDERS if bits <= border), 32.0) if bits else 0.0,
        recipe.calibrated,
    )


def _params(point: tuple[str, float, bool]) -> dict[str, Any]:
    backend, bits, tuned = point
    return {"backend": backend, f"{backend}.bits": bits, f"{backend}.{bits:g}.tuned": tuned}


def _study(objectives: int, seeds: int) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # What Optuna calls experimental (groups) has been so for years.
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
