"""Mixed precision against each toolchain's default at the same or smaller size, on the demo model: `make bench-mixed`.

The defaults are built by the toolchains' own commands, as in recipes.py. Each backend's mix is then solved for exactly
the default's bytes, and both are scored on the same windows of the evaluation text, which no choice has used. Goal: at
most half of the default's KL divergence. Finally the measured table is solved for a hundred other budgets.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from benchmarks.recipes import DEFAULTS, Default, build, show
from edgehone.backends import registry
from edgehone.backends.base import Effort, Recipe
from edgehone.backends.llamacpp import recipes
from edgehone.backends.pytorch.backend import SENSITIVITY
from edgehone.execution.job import Input
from edgehone.model.demo import demo_model
from edgehone.optimize import build as builds
from edgehone.optimize.context import RunContext
from edgehone.optimize.context_setup import set_up_context
from edgehone.optimize.evaluate import parity
from edgehone.optimize.evaluate.evaluators import score_original
from edgehone.optimize.executors import Executors
from edgehone.optimize.import_artifact import import_artifact
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial
from edgehone.plan.mixed import fit_to_size
from edgehone.transform.precision import assign

_BUDGETS = 100


def main() -> None:
    """Build, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--effort", choices=get_args(Effort), default="quick")
    parser.add_argument("--backends", default=",".join(one.backend for one in DEFAULTS))
    given = parser.parse_args()
    names = given.backends.split(",")
    backends = registry.load_all(names)
    options = OptimizeOptions(demo_model(), effort=given.effort)
    ctx, _, unready = set_up_context(options, {}, backends, names, executors=Executors.local())
    ctx, original = score_original(ctx)
    print(f"{'':40}{'bytes':>11}  {'KL':>8}  {'prefill':>8}  {'decode':>7}  {'built in':>8}")
    for default in DEFAULTS:
        if default.backend in unready:
            print(f"{default.backend}: {unready[default.backend]}")
        elif default.backend in names:
            _compete(ctx, original, default)
    _solve_again(ctx)


def _compete(ctx: RunContext, original: Original, default: Default) -> None:
    theirs = Trial(Recipe(default.backend, "default", settings=dict(default.settings or {})))
    with tempfile.TemporaryDirectory(prefix="edgehone-default-") as place:
        taken = build(default, demo_model(), Path(place))
        path = Path(place) / default.artifact
        parity.build_and_score(ctx, original, theirs, lambda ctx, recipe: import_artifact(ctx, recipe, path))
    show(f"{default.backend}: {default.shown}", theirs.candidate(), taken)
    (mix,) = fit_to_size(ctx.model, ctx.backends[default.backend].recipes(ctx.model), theirs.bytes)
    ours = Trial(mix)
    parity.build_and_score(ctx, original, ours)
    show(f"  {mix.key}", ours.candidate(), ours.facts.get("build_seconds"))
    told: dict[str, Any] = ours.facts.get("mix", {})
    kl = [trial.figures["kl_mean"].value for trial in (ours, theirs) if "kl_mean" in trial.figures]
    if len(kl) < 2 or not kl[0] or not kl[1]:
        return
    verdict = "PASS" if kl[0] <= kl[1] / 2 and (ours.bytes or 0) <= (theirs.bytes or 0) else "over"
    print(
        f"  {kl[0] / kl[1]:.2f} of the default's KL in {(ours.bytes or 0) / (theirs.bytes or 1):.3f} of its bytes "
        f"(goal 0.5)  {verdict}; {told.get('bits_per_weight', 0):.2f} bits a weight, other types than assigned: "
        f"{told.get('fallbacks')}"
    )


def _solve_again(ctx: RunContext) -> None:
    """Return the time to solve for another size budget: the table is read, no model is loaded."""
    given = {"model": ctx.source, **ctx.datasets}
    recipe = Recipe(ctx.reference_backend.NAME, "sensitivity")
    measured = builds.sensitivity(ctx, recipe, given)
    facts = measured.facts
    menu = assign.menu(recipes.precision_table()["menu"])
    begun = time.perf_counter()
    for step in range(_BUDGETS):
        assign.assign(assign.read(Input.of(measured).path), menu, bits=4.5 + 4 * step / _BUDGETS)
    taken = (time.perf_counter() - begun) / _BUDGETS
    print(
        f"{SENSITIVITY.call.rpartition('.')[2]}: {len(facts['tensors'])} matrices in {measured.seconds:.0f} s, rank "
        f"correlation {facts['rank_correlation']:.2f} with the divergence of {len(facts['exact'])} really rounded; "
        f"another budget takes {1000 * taken:.1f} ms, {_rows(ctx, menu)}"
    )


def _rows(ctx: RunContext, menu: Sequence[assign.Option]) -> str:
    """Return the same for a model of 2,000 matrices."""
    weights = [
        assign.Weight(
            f"{number}", 4096, 1024 * (1 + number % 7), "linear", 1e-4 * (1 + number * 7919 % 997),
            {assign.error_key(bits, group): 4.0 ** (4 - bits) for bits in assign.BITS for group in assign.GROUPS},
        )
        for number in range(2000)
    ]  # fmt: skip
    begun = time.perf_counter()
    found = assign.assign(weights, menu, bits=5.0)
    return f"of 2,000 matrices {time.perf_counter() - begun:.2f} s (gap {found.gap / found.kl:.1e})"


if __name__ == "__main__":
    main()
