"""How a language model is judged and measured: by its next tokens, and by requests that it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe
from edgehone.core.errors import InputError, JobError, ModelError, TextError
from edgehone.core.events import Event
from edgehone.core.figure import Figure
from edgehone.decision.requirements import Requirements
from edgehone.evaluation import quality, speed, vision
from edgehone.evaluation.quality import ParityCheck
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.inputs import texts
from edgehone.inputs.workload import Workload
from edgehone.model import digest
from edgehone.model.info import ModelInfo
from edgehone.optimize.build import build
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import vision as pictures
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial
from edgehone.worker.score import MAX_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Fewer windows than this are too few samples for an interval that means something.
MIN_WINDOWS = 4
# An eighth of a normal run's windows: enough for an interval that tells what is hopeless from what is not.
PRESCREEN_WINDOWS = 6


def default_workload(model: ModelInfo) -> str:
    """What a language model is most often asked for."""
    return "chat"


def inputs(options: OptimizeOptions, model: ModelInfo) -> dict[str, Input]:
    """The text files, each read and checked, with their digests; the shipped ones where none is given."""
    if options.metric:
        raise InputError(
            f"--metric {options.metric}: a language model is judged by its next tokens",
            hint="leave it out, or give multiple-choice questions with --task FILE",
        )
    paths: dict[str, Path] = {
        "evaluation": Path(options.evaluation or texts.shipped("evaluation")),
        "calibration": Path(options.calibration or texts.shipped("calibration")),
    }
    texts.check_disjoint(
        texts.read_text(paths["evaluation"], "evaluation"),
        texts.read_text(paths["calibration"], "calibration"),
    )
    if options.task:
        paths["task"] = Path(options.task)
        texts.read_task(paths["task"])
    found = {name: Input(path.resolve(), digest.digest_file(path)) for name, path in paths.items()}
    return found | pictures.inputs(options, model)


def prepare(ctx: RunContext) -> tuple[RunContext, JobResult]:
    """Tokenize the texts with the original's own tokenizer; the bench returned offers `calibration` to builds."""
    ctx.emit(Event("", detail="tokenizing the texts with the original's tokenizer"))
    origin = ctx.reference_backend
    try:
        prepared = ctx.run(
            origin.NAME,
            "edgehone.worker.prepare:prepare",
            {},
            {"model": ctx.source, **{n: given for n, given in ctx.datasets.items() if n != "pictures"}},
            opens_session=True,
        )
    except JobError as error:
        raise ModelError(
            f"the original's tokenizer cannot be used: {error.message}",
            hint=error.hint or f"edgehone inspect {ctx.model.path}",
        ) from error
    # What a calibrated build depends on is the calibration text and the tokenizer, not the evaluation text.
    identity = f"{ctx.source.identity}/{ctx.datasets['calibration'].identity}"
    calibration = Input(prepared.out / "calibration", identity)
    shown = {name: given for name, given in ctx.datasets.items() if name == "pictures"}
    return replace(ctx, datasets={"calibration": calibration, **shown}), prepared


def reference(ctx: RunContext, prepared: JobResult) -> Original:
    """Score the original in float32 and make it the baseline (in its stored dtype)."""
    origin = ctx.reference_backend
    recipe = origin.reference(ctx.model)
    ids = json.loads((prepared.out / "evaluation.json").read_text("utf-8"))["ids"]
    bos = list(prepared.facts["bos"])
    args = {
        "settings": dict(recipe.settings),
        "bos": bos,
        "max_bytes": MAX_BYTES,
        **_windows(ctx, ids, bos),
    }
    on_progress = ctx.announce(recipe, "scoring", "the original in float32")
    try:
        artifact = build(ctx, recipe)
        scored = ctx.run(
            origin.NAME,
            "edgehone.worker.score:reference",
            args,
            {"artifact": Input.of(artifact), "prepared": Input.of(prepared)},
            opens_session=True,
            on_progress=on_progress,
        )
    except JobError as error:
        raise ModelError(
            f"the original cannot be run: {error.message}" + (f" (log: {error.log})" if error.log else ""),
            hint=error.hint or f"edgehone inspect {ctx.model.path}",
        ) from error
    ctx.emit(Event(recipe.key, "done"))
    seen = pictures.reference(ctx, prepared)
    return Original(
        prepared,
        scored,
        Trial(origin.original(ctx.model)),
        _request(ctx.workload, bos, ids),
        given={"pictures": Input.of(seen["pictures"])} if ctx.workload.pictures else {},
        facts={"sample_ids": json.loads((prepared.out / "sample.json").read_text("utf-8")), **seen},
    )


def score(ctx: RunContext, original: Original, recipe: Recipe, artifact: Input) -> JobResult:
    """Score a candidate on the reference's windows, and tokenize the fixed sample."""
    return ctx.run(
        recipe.backend,
        "edgehone.worker.score:score",
        {"settings": dict(recipe.settings), "sample": True},
        {
            "artifact": artifact,
            "prepared": Input.of(original.prepared),
            "reference": Input.of(original.reference),
        },
        opens_session=True,
        on_progress=ctx.announce(recipe, "scoring"),
    )


def prescreen(ctx: RunContext, original: Original, recipe: Recipe, artifact: JobResult) -> dict[str, Figure]:
    """The quality figures of the first windows: what fails there by far need not be read on all."""
    scored = ctx.run(
        recipe.backend,
        "edgehone.worker.score:score",
        {"settings": dict(recipe.settings), "windows": PRESCREEN_WINDOWS},
        {
            "artifact": Input.of(artifact),
            "prepared": Input.of(original.prepared),
            "reference": Input.of(original.reference),
        },
        opens_session=True,
        on_progress=ctx.announce(recipe, "scoring", "the first windows"),
    )
    return quality.figures(original.reference.out, scored.out, first=True)


def kept_by_window(original: Original, trial: Trial) -> NDArray[np.float64] | None:
    """A number a window for comparing candidates by pairs; None before it is scored."""
    if trial.score is None:
        return None
    return quality.kept_by_window(original.reference.out, trial.score.out)


def fill_quality(original: Original, trial: Trial, scored: JobResult) -> None:
    """Fill a trial's quality figures."""
    trial.facts["kl_is_lower_bound"] = scored.facts["kl_is_lower_bound"]
    trial.figures.update(quality.figures(original.reference.out, scored.out))


def parity_check(original: Original, exact: Trial, scored: JobResult, required: Requirements) -> ParityCheck:
    """Token ids first, then the divergence, then that of a model which is shown pictures."""
    found = quality.parity_check(
        original.facts["sample_ids"], scored.facts["sample_ids"], exact.figures, required.parity_check
    )
    if "seen" not in original.facts or not found.ok:
        return found
    ok, reason = vision.parity_check(exact.figures, required.parity_check)
    return ParityCheck(ok, f"{found.reason}; {reason}", found.ids_equal)


def speed_figures(original: Original, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Latency of a request, and rates of its tokens."""
    return speed.figures(rounds, asked(original))


def asked(original: Original) -> speed.Request:
    """What a request is."""
    request = original.request
    # How many positions a picture takes is the runtime's own matter.
    prompt = request.get("prompt") or request.get("prompts", [[]])[0]
    return speed.Request(
        len(prompt), request["generated"], request.get("batch", 1), request.get("clients", 1)
    )


def summary(trial: Trial) -> str:
    """The quality in a word, for the live table."""
    kl = trial.figures["kl_mean"].value
    return "" if kl is None else f"KL {kl:.2g}"


def _request(work: Workload, bos: list[int], ids: list[int]) -> dict[str, Any]:
    """What `measure.requests` is asked: one prompt, or as many different ones as are under way at once."""
    if work.pictures:
        return {"generated": work.generated_tokens}
    whole = (bos + ids)[: work.prompt_tokens]
    own = work.prompt_tokens - len(bos)  # of the text's ids in each prompt
    step = min(own, (len(ids) - own) // max(1, work.sequences - 1))
    if len(whole) < work.prompt_tokens or (work.sequences > 1 and step < 1):
        needed = f"{work.sequences} different prompts of" if work.sequences > 1 else "a prompt of"
        raise TextError(
            f"the evaluation text has {len(ids)} tokens, the workload needs {needed} {work.prompt_tokens}",
            hint="give a longer text with --eval FILE",
        )
    if work.sequences == 1:
        return {"prompt": whole, "generated": work.generated_tokens}
    prompts = [bos + ids[at * step : at * step + own] for at in range(work.sequences)]
    return {
        "prompts": prompts,
        "generated": work.generated_tokens,
        "batch": work.batch,
        "clients": work.concurrency,
    }


def _windows(ctx: RunContext, ids: list[int], bos: list[int]) -> Mapping[str, Any]:
    """As many windows as the effort asks for, or as the text has; shorter ones for a shorter context."""
    window = min(ctx.effort.window, ctx.model.context or ctx.effort.window)
    # A short text gives shorter windows rather than too few of them.
    while window > 32 and len(ids) // (window - len(bos)) < MIN_WINDOWS:
        window //= 2
    windows = min(ctx.effort.windows, len(ids) // (window - len(bos)))
    if windows < MIN_WINDOWS:
        raise TextError(
            f"the evaluation text has {len(ids)} tokens: too few for {MIN_WINDOWS} windows of {window}",
            hint="give a longer text with --eval FILE, or leave --eval out for the shipped one",
        )
    return {"windows": windows, "window": window}
