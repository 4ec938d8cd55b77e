"""Evaluate vision-language models on pictures: compare a candidate's answers with those of the original."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack

from edgehone.backends.base import Recipe
from edgehone.core.absence import why_absent
from edgehone.core.errors import EdgehoneError, InputError, ModelError, SetupError
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


def no_pictures(model: ModelInfo) -> str:
    """Return why a model takes no pictures, as a clause."""
    if model.format == "gguf":
        return f"{model.path} is a language model alone, without the projector (mmproj) that pictures need"
    return f"{model.architecture} is not a vision-language model"


def text_alone(otherwise: str, model: ModelInfo) -> str:
    """Return the hint for a model that takes no pictures; `otherwise` says how to do without them."""
    if model.format == "gguf":
        return f"give the checkpoint of both (config.json, safetensors), or {otherwise}"
    return otherwise


def inputs(options: OptimizeOptions, model: ModelInfo) -> dict[str, Input]:
    """Check the user's pictures and return them as a job input; {} if none are given, then drawn pictures are used.

    Raises InputError if the model is not a vision-language model, TextError for an invalid file.
    """
    if options.pictures is None:
        return {}
    path = Path(options.pictures)
    if model.task != TASK:
        raise InputError(
            f"--pictures {path}: {no_pictures(model)}", hint=text_alone("leave --pictures out", model)
        )
    if not path.exists():
        problem = why_absent(path, f"no such file or folder: {path}")
        raise InputError(f"--pictures: {problem}", hint="give a folder, or JSON lines")
    if path.is_file():
        named = [where for where, _ in prepare_pictures.lines(path)]
        return {"pictures": Input(path.resolve(), digest.digest_paths([path, *named]))}
    return {
        "pictures": Input(
            path.resolve(), digest.digest_paths(sorted(p for p in path.iterdir() if p.is_file()))
        )
    }


def reference(ctx: RunContext, prepared: JobResult) -> dict[str, Any]:
    """Run the original on the pictures and return the results as facts; {} if it is not a vision-language model.

    Raises ModelError if its image processor or the model cannot be run.
    """
    if ctx.model.task != TASK:
        return {}
    origin = ctx.reference_backend
    recipe = origin.reference(ctx.model)
    on_progress = ctx.announce(recipe, "scoring", "the original on pictures")
    inputs = {"model": ctx.source, "prepared": Input.of(prepared)}
    inputs |= {name: ctx.datasets[name] for name in ("pictures",) if name in ctx.datasets}
    try:
        shown = ctx.run(
            origin.NAME,
            "edgehone.worker.prepare_pictures:prepare",
            {},
            inputs,
            opens_session=True,
            on_progress=on_progress,
        )
        reference_run = _run(ctx, recipe, build(ctx, recipe), shown, call="reference")
    except SetupError:
        raise
    except EdgehoneError as error:
        raise ModelError(
            f"the original cannot be run on pictures: {error.message}",
            hint=f"edgehone inspect {ctx.model.path}",
        ) from error
    return {"pictures": shown, "picture_reference": reference_run}


def compare(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Set the picture figures of a trial that is built. Raises EdgehoneError if it cannot be run on pictures."""
    if "picture_reference" not in original.facts or trial.artifact is None:
        return
    shown, reference_run = original.facts["pictures"], original.facts["picture_reference"]
    scored = _run(
        ctx, trial.recipe, trial.artifact, shown, call="score", inputs={"reference": Input.of(reference_run)}
    )
    trial.figures.update(vision.figures(scored.out, reference_run.facts["matters"]))


def time_first(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Measure `image_ttft_ms`, the time from a picture to the first token, exclusively on the machine."""
    if "picture_reference" not in original.facts or trial.artifact is None or not trial.alive:
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


def _run(
    ctx: RunContext,
    recipe: Recipe,
    artifact: JobResult,
    shown: JobResult,
    *,
    call: str,
    inputs: Mapping[str, Input] = MappingProxyType({}),
    on_progress: Callable[[float, str], None] = lambda fraction, detail: None,
    **fields: Unpack[JobFields],
) -> JobResult:
    return ctx.run(
        recipe.backend,
        f"edgehone.worker.score_pictures:{call}",
        {"settings": dict(recipe.settings)},
        {"artifact": Input.of(artifact), "pictures": Input.of(shown), **inputs},
        opens_session=True,
        on_progress=on_progress,
        **fields,
    )
