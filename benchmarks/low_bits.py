"""Below 4 bits a weight: the assigned mix against llama.cpp's own best type of no more bytes, on the demo model.

With `--model`, on another checkpoint or a GGUF file, which then is the original. `make bench-low-bits`.

llama-quantize builds every type with the importance matrix of the same calibration text. For each of them, the mix is
solved for exactly its bytes, and compared with the type of no more bytes that has the lowest KL divergence on the same
windows. Goal: at most half of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import get_args

from edgehone.backends import registry
from edgehone.backends.base import Effort, Recipe
from edgehone.model.demo import demo_model
from edgehone.model.info import ModelInfo
from edgehone.optimize.context import RunContext
from edgehone.optimize.context_setup import set_up_context
from edgehone.optimize.evaluate import parity
from edgehone.optimize.evaluate.evaluators import score_original
from edgehone.optimize.executors import Executors
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial
from edgehone.plan.mixed import fit_to_size

BACKEND = "llamacpp"
TYPES = (
    "Q3_K_M", "IQ3_M", "Q3_K_S", "IQ3_S", "IQ3_XS", "IQ3_XXS", "Q2_K", "Q2_K_S", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS",
)  # fmt: skip
GOAL = 0.5


def main() -> None:
    """Build, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--effort", choices=get_args(Effort), default="quick")
    parser.add_argument(
        "--model", default=str(demo_model()), help="a checkpoint or a GGUF file (default: the demo model)"
    )
    parser.add_argument("--types", nargs="+", choices=TYPES, default=TYPES)
    given = parser.parse_args()
    options = OptimizeOptions(given.model, effort=given.effort)
    ctx, _, unready = set_up_context(
        options, {}, registry.load_all([BACKEND]), [BACKEND], executors=Executors.local()
    )
    if unready:
        raise SystemExit(unready[BACKEND])
    ctx, original = score_original(ctx)
    theirs = [one for name in given.types if (one := _built(ctx, original, _own(name, ctx.model)))]
    print("| llama.cpp's type | bytes | KL | the best of no more bytes | the mix: bytes | KL | ratio |")
    print("| --- " * 7 + "|")
    for one in sorted(theirs, key=lambda trial: -(trial.bytes or 0)):
        print(_row(ctx, original, one, theirs), flush=True)


def _own(name: str, model: ModelInfo) -> Recipe:
    source = {"source": "gguf", "requantize": True} if model.format == "gguf" else {}
    return Recipe(BACKEND, name, {**source, "type": name, "imatrix": True}, calibrated=True)


def _built(ctx: RunContext, original: Original, recipe: Recipe) -> Trial | None:
    trial = Trial(recipe)
    parity.build_and_score(ctx, original, trial)
    if _kl(trial) is None:
        print(f"{recipe.name}: {trial.candidate().error}")
        return None
    return trial


def _kl(trial: Trial) -> float | None:
    return trial.figures["kl_mean"].value if "kl_mean" in trial.figures else None


def _row(ctx: RunContext, original: Original, one: Trial, theirs: Sequence[Trial]) -> str:
    best = min(
        (other for other in theirs if (other.bytes or 0) <= (one.bytes or 0)),
        key=lambda other: _kl(other) or 0.0,
    )
    (mix,) = fit_to_size(ctx.model, ctx.backends[BACKEND].recipes(ctx.model), one.bytes)
    ours = _built(ctx, original, mix)
    cells = [one.recipe.name, f"{one.bytes:,}", f"{_kl(one):.4f}", best.recipe.name]
    if ours is None:
        return f"| {' | '.join([*cells, 'too few', '–', '–'])} |"
    ratio = (_kl(ours) or 0.0) / (_kl(best) or 1.0)
    verdict = "" if ratio <= GOAL else f" (goal {GOAL})"
    return f"| {' | '.join([*cells, f'{ours.bytes:,}', f'{_kl(ours):.4f}', f'{ratio:.2f}{verdict}'])} |"


if __name__ == "__main__":
    main()
