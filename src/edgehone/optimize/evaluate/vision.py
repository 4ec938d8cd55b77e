"""Pictures: whether a candidate that is shown one answers as the original does. Of models that see only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack

from edgehone.backends.base import Recipe
from edgehone.core.errors import EdgehoneError, InputError, ModelError, SetupError
from edgehone.core.figure import Figure
from edgehone.evaluation import vision
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.model import digest
from edgehone.model.info import ModelInfo
from edgehone.optimize.build import build
from edgehone.optimize.context import JobFields, RunContext
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial
from edgehone.worker import prepare_pictures

TASK = "image-text-to-text"


def inputs(options: OptimizeOptions, model: ModelInfo) -> dict[str, Input]:
    """The user's pictures, checked; nothing where none are given, and drawn ones serve.

    Raises InputError for pictures for a model that sees none, TextError for a file that is not as it should be.
    """
    if options.pictures is None:
        return {}
    path = Path(options.pictures)
    if model.task != TASK:
        raise InputError(f"--pictures {path}: {model.architecture} sees no pictures", hint="leave it out")
    if not path.exists():
        raise InputError(f"--pictures {path}: no such file or folder", hint="give a folder, or JSON lines")
    if path.is_file():
        named = [where for where, _ in prepare_pictures.lines(path)]
        return {"pictures": Input(path.resolve(), digest.digest_paths([path, *named]))}
    return {
        "pictures": Input(
            path.resolve(), digest.digest_paths(sorted(p for p in path.iterdir() if p.is_file()))
        )
    }


def reference(ctx: RunContext, prepared: JobResult) -> dict[str, Any]:
    """What the original makes of the pictures, as facts of the original; none for a model that sees none.

    Raises ModelError where its processor or the model cannot be run.
    """
    if ctx.model.task != TASK:
        return {}
    origin = ctx.reference_backend
    recipe = origin.reference(ctx.model)
    on_progress = ctx.announce(recipe, "scoring", "the original on pictures")
    given = {"model": ctx.source, "prepared": Input.of(prepared)}
    given |= {name: ctx.datasets[name] for name in ("pictures",) if name in ctx.datasets}
    try:
        shown = ctx.run(
            origin.NAME,
            "edgehone.worker.prepare_pictures:prepare",
            {},
            given,
            opens_session=True,
            on_progress=on_progress,
        )
        seen = _run(ctx, recipe, build(ctx, recipe), shown, call="reference")
    except SetupError:
        raise
    except EdgehoneError as error:
        raise ModelError(
            f"the original cannot be shown pictures: {error.message}",
            hint=f"edgehone inspect {ctx.model.path}",
        ) from error
    return {"pictures": shown, "seen": seen}


def compare(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Fill the figures of pictures of a trial that is built. Raises EdgehoneError where it cannot be shown any."""
    if "seen" not in original.facts or trial.artifact is None:
        return
    shown, seen = original.facts["pictures"], original.facts["seen"]
    found = _run(ctx, trial.recipe, trial.artifact, shown, call="score", given={"reference": Input.of(seen)})
    trial.figures.update(vision.figures(found.out, seen.facts["matters"]))


def time_first(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Fill `image_ttft_ms`: from a picture to the first token, alone on the machine."""
    if "seen" not in original.facts or trial.artifact is None or not trial.alive:
        return
    done = _run(
        ctx,
        trial.recipe,
        trial.artifact,
        original.facts["pictures"],
        call="time_first",
        exclusive=True,
        also={"device": ctx.device.fingerprint},
    )
    trial.figures[vision.FIRST] = vision.first_token(done.facts["seconds"])
    trial.samples["pictures"] = dict(done.facts)


def missing(reason: str) -> dict[str, Figure]:
    """The figures of pictures of a trial that could not be shown any."""
    return {name: Figure.missing(reason, unit) for name, unit in vision.UNITS.items()}


def _run(
    ctx: RunContext,
    recipe: Recipe,
    artifact: JobResult,
    shown: JobResult,
    *,
    call: str,
    given: Mapping[str, Input] = MappingProxyType({}),
    on_progress: Callable[[float, str], None] = lambda fraction, detail: None,
    **fields: Unpack[JobFields],
) -> JobResult:
    return ctx.run(
        recipe.backend,
        f"edgehone.worker.score_pictures:{call}",
        {"settings": dict(recipe.settings)},
        {"artifact": Input.of(artifact), "pictures": Input.of(shown), **given},
        opens_session=True,
        on_progress=on_progress,
        **fields,
    )
