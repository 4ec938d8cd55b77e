"""The evaluator of language models: compare next-token probabilities on windows of text, and time generation."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe
from edgehone.core.errors import InputError, JobError, ModelError, TextError
from edgehone.core.events import Event
from edgehone.core.figure import Figure
from edgehone.decision.requirements import Requirements
from edgehone.evaluation import quality, speed, tokens, vision
from edgehone.evaluation.quality import ParityCheck
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.inputs import chat_tasks, texts
from edgehone.inputs.workload import Workload
from edgehone.model import digest
from edgehone.model.info import ModelInfo
from edgehone.optimize.adapter import ADAPTER, BASE
from edgehone.optimize.build import build
from edgehone.optimize.context import EffortSettings, RunContext
from edgehone.optimize.evaluate import chat_tasks as evaluate_tasks
from edgehone.optimize.evaluate import conversations, long_context, request_prompts
from edgehone.optimize.evaluate import vision as pictures
from edgehone.optimize.evaluate.same_run import runs_as
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.original import Original, refuse_differing
from edgehone.optimize.trial import Trial
from edgehone.worker.score import MAX_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Fewer windows give no meaningful interval.
MIN_WINDOWS = 4
# An eighth of a normal run's windows: enough to recognize candidates that will fail by far.
PRESCREEN_WINDOWS = 6


# Parameters from which a model's scoring keeps all threads busy. Two at a time then wait for each other at every
# barrier: on 2 cores three candidates of 0.27 billion took 140 s so.
_ALONE_FROM = 100_000_000
_SCORING = threading.Lock()
# Data that the preparation of the texts does not read.
_LATER = ("pictures", evaluate_tasks.INPUT, BASE, ADAPTER)


def default_workload(model: ModelInfo) -> str:
    """Return "chat"."""
    return "chat"


def samples_asked(model: ModelInfo) -> str | None:
    """Return None: texts ship."""
    return None


def inputs(options: OptimizeOptions, model: ModelInfo) -> dict[str, Input]:
    """Read and check the text files and return them with their digests. The shipped texts are the default."""
    if options.metric:
        raise InputError(
            f"--metric {options.metric}: language models are evaluated by their next-token probabilities",
            hint="leave --metric out, or give multiple-choice questions with --task FILE",
        )
    if options.task_kind:
        raise InputError(
            f"--task-kind {options.task_kind}: language models are evaluated by their next-token probabilities",
            hint="leave --task-kind out",
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
        path = Path(options.task)
        if chat_tasks.are_in(path):
            evaluate_tasks.check(path, model)
            paths[evaluate_tasks.INPUT] = path
        else:
            paths["task"] = path
            texts.read_task(path)
    if options.chat is not None:
        paths["chat"] = conversations.of(options, model)
    data = {name: Input(path.resolve(), digest.digest_file(path)) for name, path in paths.items()}
    return data | pictures.inputs(options, model)


def prepare(ctx: RunContext) -> tuple[RunContext, JobResult]:
    """Tokenize the texts with the original's tokenizer. The returned context offers `calibration` to builds."""
    ctx.emit(Event("", detail="tokenizing the texts with the original's tokenizer"))
    origin = ctx.reference_backend
    try:
        prepared = ctx.run(
            origin.NAME,
            "edgehone.worker.prepare:prepare",
            {},
            {"model": ctx.source, **{name: one for name, one in ctx.datasets.items() if name not in _LATER}},
            opens_session=True,
        )
    except JobError as error:
        raise ModelError(
            f"the original's tokenizer cannot be used: {error.message}",
            hint=error.hint or f"edgehone inspect {ctx.model.path}",
        ) from error
    # A calibrated build depends on the calibration text and the tokenizer, not on the evaluation text.
    identity = f"{ctx.source.identity}/{ctx.datasets['calibration'].identity}"
    calibration = Input(prepared.out / "calibration", identity)
    later = {name: one for name, one in ctx.datasets.items() if name in _LATER}
    answered = {}
    if "chat" in ctx.datasets:
        done = conversations.answered(ctx, prepared)
        calibration = Input(done.out / "calibration", f"{identity}/{ctx.datasets['chat'].identity}")
        answered = {conversations.INPUT: Input.of(done)}
    return replace(ctx, datasets={"calibration": calibration, **later, **answered}), prepared


def reference(ctx: RunContext, prepared: JobResult) -> Original:
    """Score the original in float32 as the reference; in its stored dtype it is the baseline."""
    origin = ctx.reference_backend
    recipe = origin.reference(ctx.model)
    ids = json.loads((prepared.out / "evaluation.json").read_text("utf-8"))["ids"]
    bos = list(prepared.facts["bos"])
    shape, notes = windows(ctx.effort, ctx.model.context, ctx.model.sliding_window, len(ids), len(bos))
    spoken = {name: one for name, one in ctx.datasets.items() if name == conversations.INPUT}
    if spoken:
        notes = conversations.notes(spoken[conversations.INPUT])
    args = {
        "settings": dict(recipe.settings),
        "bos": bos,
        "max_bytes": MAX_BYTES,
        "tokenize": True,
        **shape,
    }
    on_progress = ctx.announce(recipe, "scoring", "the original in float32")
    try:
        artifact = build(ctx, recipe)
        scored = ctx.run(
            origin.NAME,
            "edgehone.worker.score:reference",
            args,
            {"artifact": Input.of(artifact), "prepared": Input.of(prepared), **spoken},
            opens_session=True,
            on_progress=on_progress,
        )
        long = (
            {}
            if spoken
            else long_context.reference(ctx, recipe, Input.of(artifact), prepared, shape["window"])
        )
    except JobError as error:
        raise ModelError(
            f"the original cannot be run: {error.message}" + (f" (log: {error.log})" if error.log else ""),
            hint=error.hint or f"edgehone inspect {ctx.model.path}",
        ) from error
    refuse_differing(ctx.model.path, scored.facts["differs"])
    ctx.emit(Event(recipe.key, "done"))
    picture_facts = pictures.reference(ctx, prepared)
    return Original(
        prepared,
        scored,
        Trial(origin.original(ctx.model)),
        _request(ctx.workload, bos, ids),
        inputs={"pictures": Input.of(picture_facts["pictures"])} if ctx.workload.pictures else {},
        facts={
            "notes": [*prepared.facts["notes"], *notes],
            "scored_as": runs_as(ctx, recipe, Input.of(artifact)),
            "windows": spoken,
            **picture_facts,
            request_prompts.FACT: _prompts(ctx.workload, bos, ids, spoken.get(conversations.INPUT)),
            **evaluate_tasks.reference(ctx, prepared),
            **long,
        },
    )


def score(ctx: RunContext, original: Original, recipe: Recipe, artifact: Input) -> JobResult:
    """Score a candidate on the reference's windows, and tokenize the parity texts.

    What runs the reference's own artifact with its settings is not run again: the reference is its score.
    """
    if runs_as(ctx, recipe, artifact) == original.facts.get("scored_as") and not ctx.verifies_on_target:
        return original.reference
    with _turn(ctx):
        return ctx.run(
            recipe.backend,
            "edgehone.worker.score:score",
            {"settings": dict(recipe.settings), "tokenize": True},
            {
                "artifact": artifact,
                "prepared": Input.of(original.prepared),
                "reference": Input.of(original.reference),
                **original.facts.get("windows", {}),
            },
            opens_session=True,
            on_progress=ctx.announce(recipe, "scoring"),
        )


def _turn(ctx: RunContext) -> AbstractContextManager[object]:
    """Let candidates be scored one at a time where each keeps all threads of the one machine busy."""
    alone = (ctx.model.parameters or 0) >= _ALONE_FROM and not ctx.build_executor.executor.slots
    return _SCORING if alone else nullcontext()


def prescreen(ctx: RunContext, original: Original, recipe: Recipe, artifact: JobResult) -> dict[str, Figure]:
    """Return quality figures from the first windows. A candidate that fails there by far is not scored on all."""
    scored = ctx.run(
        recipe.backend,
        "edgehone.worker.score:score",
        {"settings": dict(recipe.settings), "windows": PRESCREEN_WINDOWS},
        {
            "artifact": Input.of(artifact),
            "prepared": Input.of(original.prepared),
            "reference": Input.of(original.reference),
            **original.facts.get("windows", {}),
        },
        opens_session=True,
        on_progress=ctx.announce(recipe, "scoring", "the first windows"),
    )
    return quality.figures(original.reference.out, scored.out, first=True)


def kept_by_window(original: Original, trial: Trial) -> NDArray[np.float64] | None:
    """Return the quality kept per window, for paired comparisons; None before the trial is scored."""
    if trial.score is None:
        return None
    return quality.kept_by_window(original.reference.out, trial.score.out)


def fill_quality(original: Original, trial: Trial, scored: JobResult) -> None:
    """Set a trial's quality figures."""
    trial.facts["kl_is_lower_bound"] = scored.facts["kl_is_lower_bound"]
    trial.figures.update(quality.figures(original.reference.out, scored.out))


def parity_check(original: Original, exact: Trial, scored: JobResult, required: Requirements) -> ParityCheck:
    """Compare token ids, then next-token probabilities, then, for vision-language models, answers to pictures."""
    difference = tokens.compare(
        json.loads((original.prepared.out / "parity.json").read_text("utf-8")),
        json.loads((scored.out / "token_ids.json").read_text("utf-8")),
        original.prepared.facts["bos"],
        required.parity_check["token_mismatch_max"],
        portable=original.prepared.facts["portable"],
    )
    check = quality.parity_check(difference, exact.figures, required.parity_check)
    if "picture_reference" not in original.facts or not check.ok:
        return check
    ok, reason = vision.parity_check(exact.figures, required.parity_check)
    return ParityCheck(ok, f"{check.reason}; {reason}", check.tokens)


def speed_figures(original: Original, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Return latency and token rates from the requests of all rounds."""
    return speed.figures(rounds, request_shape(original))


def request_shape(original: Original) -> speed.Request:
    """Return the lengths, batch size and concurrency of the requests."""
    request = original.request
    # The number of positions that a picture takes depends on the runtime, so pictures have no prompt length.
    prompt = request.get("prompt") or request.get("prompts", [[]])[0]
    return speed.Request(
        len(prompt), request["generated"], request.get("batch", 1), request.get("clients", 1)
    )


def summary(trial: Trial) -> str:
    """Return the mean KL divergence, for the live table."""
    kl = trial.figures["kl_mean"].value
    return "" if kl is None else f"KL {kl:.2g}"


def _request(work: Workload, bos: list[int], ids: list[int]) -> dict[str, Any]:
    """Return the arguments of requests: one prompt, or as many different ones as run concurrently."""
    if work.pictures:
        return {"generated": work.generated_tokens}
    whole = (bos + ids)[: work.prompt_tokens]
    text_tokens = work.prompt_tokens - len(bos)  # ids from the text in each prompt
    step = min(text_tokens, (len(ids) - text_tokens) // max(1, work.sequences - 1))
    if len(whole) < work.prompt_tokens or (work.sequences > 1 and step < 1):
        needed = f"{work.sequences} different prompts of" if work.sequences > 1 else "a prompt of"
        raise TextError(
            f"the evaluation text has {len(ids)} tokens, the workload needs {needed} {work.prompt_tokens}",
            hint="give a longer text with --eval FILE",
        )
    if work.sequences == 1:
        return {"prompt": whole, "generated": work.generated_tokens}
    prompts = [bos + ids[at * step : at * step + text_tokens] for at in range(work.sequences)]
    return {
        "prompts": prompts,
        "generated": work.generated_tokens,
        "batch": work.batch,
        "clients": work.concurrency,
    }


def _prompts(work: Workload, bos: list[int], ids: list[int], spoken: Input | None) -> list[list[int]]:
    """Return the prompts of the rounds, from conversations if there are any; [] for pictures and several clients."""
    if work.pictures or work.sequences > 1:
        return []
    found = request_prompts.of_conversations(spoken, work.prompt_tokens) if spoken else []
    return found or request_prompts.of_text(ids, bos, work.prompt_tokens)


def windows(
    effort: EffortSettings, context: int | None, sliding: int | None, ids: int, bos: int
) -> tuple[dict[str, int], list[str]]:
    """Return number and length of the windows, and a note on what they cannot show.

    They are those of the effort, limited by the text (`ids` tokens) and the model's context. A model that attends to
    the last `sliding` tokens only gets longer windows, if as many tokens and MIN_WINDOWS allow it: within shorter ones
    a runtime that ignores the limit is not found. Raises TextError if the text is too short.
    """
    window = min(effort.window, context or effort.window)
    # Prefer shorter windows over too few of them if the text is short.
    while window > 32 and ids // (window - bos) < MIN_WINDOWS:
        window //= 2
    longer = sliding + sliding // 2 if sliding else 0
    fits = longer <= (context or longer) and longer * MIN_WINDOWS <= min(ids, effort.windows * effort.window)
    if longer > window and fits:
        window = longer
    count = min(
        max(MIN_WINDOWS, effort.windows * effort.window // window), effort.windows, ids // (window - bos)
    )
    if count < MIN_WINDOWS:
        raise TextError(
            f"the evaluation text has {ids} tokens: too few for {MIN_WINDOWS} windows of {window}",
            hint="give a longer text with --eval FILE, or leave --eval out to use the shipped text",
        )
    notes = []
    if sliding and window <= sliding:
        notes.append(
            f"the model attends to the last {sliding} tokens, and the windows have {window}: that a backend limits its "
            "attention too is not proven. Give a longer text (--eval FILE) or --effort thorough"
        )
    return {"windows": count, "window": window}, notes
