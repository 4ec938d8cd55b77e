"""The evaluator of graphs (ONNX, exported PyTorch programs, encoders): compare outputs on the user's samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edgehone.backends.base import Recipe
from edgehone.core.errors import InputError, JobError, ModelError
from edgehone.core.events import Event
from edgehone.core.figure import Figure
from edgehone.decision.requirements import Requirements
from edgehone.evaluation import agreement, by_library, collapse, metrics, output_roles, roles, speed
from edgehone.evaluation.quality import ParityCheck
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.inputs import axes, proven, samples, texts
from edgehone.inputs.output_sizes import aligned, sized_output
from edgehone.inputs.workload import Workload
from edgehone.model import digest
from edgehone.model.encoder_decoder import SPEECH, TASKS
from edgehone.model.info import ModelInfo
from edgehone.optimize.build import build
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import generated, layout
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.original import Original, refuse_differing
from edgehone.optimize.trial import Trial
from edgehone.worker import prepare_graph

# The roles of the output that a library's metric judges, if there is one; else it is the first output.
_JUDGED: Mapping[str, tuple[roles.Role, ...]] = {
    **dict.fromkeys(("f1", "auroc", "average_precision"), ("classes", "labels", "binary")),
    **dict.fromkeys(("ndcg", "spearman"), ("vector", "numbers")),
    "iou": ("mask",),
    "map": ("detections",),
    **dict.fromkeys(("cer", "wer"), ("ctc", "steps")),
}
# Seconds that one batch of samples may take: a graph may contain an endless loop.
BATCH_TIMEOUT = 600.0


def default_workload(model: ModelInfo) -> str:
    """Return "embed" for an encoder without a head, "transcribe" for an encoder-decoder, else "classify"."""
    known = {"feature-extraction": "embed", **dict.fromkeys(TASKS, "transcribe")}
    return known.get(model.task, "classify")


def samples_asked(model: ModelInfo) -> str | None:
    """Return what a user must give with --eval, as a word and what it stands for; None if data ships for it."""
    if model.task == SPEECH:
        return "FOLDER (sounds to recognize: WAV files; transcripts may stand beside as .txt)"
    return None if model.format == "huggingface" else "SAMPLES (FILE.npz, or a folder of images)"


def inputs(options: OptimizeOptions, model: ModelInfo) -> dict[str, Input]:
    """Check the samples and return them with their digests. Text encoders use the shipped texts by default."""
    if options.task:
        raise InputError(
            f"--task {options.task}: multiple choice needs a language model", hint="give samples with --eval"
        )
    if options.metric:
        metrics.find(options.metric)
    roles.check(options.task_kind)
    paths = {"evaluation": options.evaluation, "calibration": options.calibration}
    asked = samples_asked(model)
    if asked and not options.evaluation:
        raise InputError(
            f"{model.path} is evaluated on samples that you provide, and none are given",
            hint=f"edgehone optimize {model.path} --eval {asked}",
        )
    if not options.evaluation and model.format == "huggingface":
        paths = {name: path or texts.shipped(name) for name, path in paths.items()}  # type: ignore[arg-type]
    inputs_by_name = {}
    known_axes = layout.find(model, options.axes, layout.states_of(options, model))
    for name, chosen in paths.items():
        if chosen:
            path = Path(chosen)
            samples.check(path, model, known_axes)
            inputs_by_name[name] = Input(path.resolve(), _digest(path))
    return inputs_by_name


def _digest(path: Path) -> str:
    if not path.is_dir():
        return digest.digest_file(path)
    files = json.dumps(digest.digest_folder(path), sort_keys=True)
    return hashlib.sha256(files.encode()).hexdigest()


def prepare(ctx: RunContext) -> tuple[RunContext, JobResult]:
    """Turn the samples into arrays. The returned context offers `calibration` to builds."""
    ctx.emit(Event("", detail="reading the samples"))
    tensors = ctx.model.to_json()["inputs"]
    args = {
        "inputs": tensors,
        "task": ctx.model.task,
        "most": ctx.effort.samples,
        "needed": ctx.samples_needed,
        "axes": layout.of(ctx).to_json(),
        "images": dict(ctx.images),
        "audio": dict(ctx.audio),
    }
    args["digests"] = {name: one.identity for name, one in ctx.datasets.items()}
    try:
        prepared = ctx.run(
            ctx.reference_backend.NAME,
            "edgehone.worker.prepare_graph:prepare",
            args,
            {"model": ctx.source, **ctx.datasets},
            opens_session=True,
        )
    except JobError as error:
        raise InputError(f"the samples cannot be used: {error.message}", hint=error.hint) from error
    calibration = Input.of(prepared, "calibration")
    if layout.of(ctx).states:
        if ctx.workload.frames_per_s:
            raise InputError(
                f"workload {ctx.workload.name} sends frames, and a sample of {ctx.model.path} is a sequence of steps",
                hint="give a workload without frames_per_s: --workload classify",
            )
        calibration = _steps_for_calibration(ctx, calibration)
    return replace(ctx, datasets={"calibration": calibration}), prepared


def _steps_for_calibration(ctx: RunContext, sequences: Input) -> Input:
    """Return single steps with the original's own states, since toolchains calibrate the graph itself."""
    recipe = ctx.reference_backend.reference(ctx.model)
    artifact = Input.of(build(ctx, recipe))
    args = {"settings": dict(recipe.settings), "batch": _batch(ctx), "most": prepare_graph.CALIBRATION}
    on_progress = ctx.announce(recipe, "scoring", "the original on sequences for calibration")
    try:
        done = ctx.run(
            recipe.backend,
            "edgehone.worker.sequences:collect",
            args,
            {"artifact": artifact, "samples": sequences},
            opens_session=True,
            on_progress=on_progress,
            silent=BATCH_TIMEOUT,
        )
    except JobError as error:
        raise ModelError(
            f"the original cannot be run step by step: {error.message}",
            hint=error.hint or f"edgehone inspect {ctx.model.path}",
        ) from error
    return Input.of(done, "calibration")


def reference(ctx: RunContext, prepared: JobResult) -> Original:
    """Run the original without optimizations on the evaluation samples; as its users run it, it is the baseline."""
    recipe = ctx.reference_backend.reference(ctx.model)
    samples_input = Input.of(prepared, "evaluation")
    batch = _batch(ctx)
    on_progress = ctx.announce(recipe, "scoring", "the original on the samples")
    try:
        artifact = Input.of(build(ctx, recipe))
        outputs = _outputs(ctx, recipe, batch, {"artifact": artifact, "samples": samples_input}, on_progress)
        facts = _facts(ctx, prepared, outputs) | generated.reference(ctx, recipe, artifact, prepared)
    except JobError as error:
        raise ModelError(
            f"the original cannot be run: {error.message}" + (f" (log: {error.log})" if error.log else ""),
            hint=error.hint or f"edgehone inspect {ctx.model.path}",
        ) from error
    refuse_differing(ctx.model.path, outputs.facts["differs"])
    ctx.emit(Event(recipe.key, "done"))
    return Original(
        prepared,
        outputs,
        Trial(ctx.reference_backend.original(ctx.model)),
        {"batch": batch, **_load(ctx.workload)},
        inputs={"samples": samples_input},
        facts=facts,
    )


def _facts(ctx: RunContext, prepared: JobResult, outputs: JobResult) -> dict[str, Any]:
    """Return the labels, the metric and the roles of the outputs, after checking them on the original's own outputs."""
    if not (stored := agreement.read(outputs.out)):
        raise InputError(
            f"no output of {ctx.model.path} has an entry on these samples",
            hint="give samples on which the graph finds something, scaled as it takes them",
        )
    original_outputs, _ = aligned(stored, stored)
    of_texts = ctx.model.task in TASKS  # their labels are what is said, which `generated` compares
    count = outputs.facts["samples"]
    labels = None if of_texts else agreement.labels_of(prepared.out / "evaluation", count)
    metric = _metric(ctx, labels)
    for folder in ("evaluation", "calibration") if metric else ():
        if (some := agreement.labels_of(prepared.out / folder)) is not None:
            metrics.check_labels(str(metric), original_outputs, some)
    by_class = (
        metric is not None and metrics.of_classes(metric) and metrics.classes(original_outputs) is not None
    )
    outputs_roles = output_roles.recognize(
        original_outputs,
        inputs=[tensor.name for tensor in ctx.model.inputs],
        task=ctx.model.task,
        kind=ctx.task_kind
        or ("token-classification" if of_texts else "classification" if by_class else None),
        told_by="--task-kind"
        if ctx.task_kind
        else "the model's task"
        if of_texts
        else "the labels and the metric",
    )
    agreement.figures(*aligned(stored, stored, roles.padded(outputs_roles)), outputs_roles, labels, metric)
    known_axes = layout.of(ctx)
    notes = [*known_axes.notes, *layout.notes(known_axes)]
    notes += [] if metric else [one.sentence() for one in outputs_roles]
    if (few := _too_few(ctx, prepared)) is not None:
        notes.append(few)
        ctx.emit(Event("", detail=few))
    by_library = partial(
        _by_library, ctx, metric, outputs_roles, Input.of(outputs), Input.of(prepared, "evaluation")
    )
    by_library(Input.of(outputs))  # refuses labels that the metric does not accept, before anything is built
    return {
        "labels": labels,
        "metric": metric,
        "roles": outputs_roles,
        "notes": notes,
        "axes": {**known_axes.to_json(), "told": [*ctx.axes], "told_states": [*ctx.states]},
        "by_library": by_library,
        "preprocessing": _preprocessing(ctx, prepared.facts["form"]),
        "proven": _proven(ctx, prepared, unequal=any(sized_output(name) for name in stored)),
    }


def _proven(ctx: RunContext, prepared: JobResult, unequal: bool) -> dict[str, Any]:
    """Return the sizes of the samples, and the values of small inputs if a size of the outputs may depend on them."""
    known: dict[str, Any] = prepared.facts["proven"]
    model = ctx.model
    depends = unequal or proven.size_depends(model.inputs, model.outputs, layout.of(ctx).outputs)
    return known if depends else {**known, "values": {}}


def _preprocessing(ctx: RunContext, form: str) -> dict[str, Any] | None:
    """Return how the samples became arrays; None if they were arrays or texts."""
    if form == "images":
        return {"images": dict(ctx.images)}
    return {"audio": dict(ctx.audio)} if form == "sounds" else None


def _by_library(
    ctx: RunContext,
    metric: str | None,
    outputs_roles: Sequence[roles.OutputRole],
    reference: Input,
    labelled: Input,
    candidate: Input,
) -> dict[str, Figure]:
    """Return the figures of a metric that a library computes; {} for other metrics."""
    if metric not in metrics.LIBRARY:
        return {}
    judged = next((one for one in outputs_roles if one.role in _JUDGED[metric]), None)
    if judged is None and metric in ("iou", "map", "cer", "wer"):
        found = ", ".join(f"{one.name} as {one.role}" for one in outputs_roles)
        raise InputError(
            f"--metric {metric} judges {' or '.join(_JUDGED[metric])}, but the outputs are recognized as {found}",
            hint="say what the outputs are with --task-kind, or give another --metric",
        )
    judged = judged or outputs_roles[0]
    try:
        return by_library.figures(
            metrics.find(metric),
            judged,
            {"reference": reference, "candidate": candidate, "samples": labelled},
            alphabet=ctx.alphabet,
            on_progress=lambda what: ctx.emit(Event("", detail=f"environment metrics: {what}")),
        )
    except JobError as error:
        raise InputError(error.message, hint=error.hint) from error


def _too_few(ctx: RunContext, prepared: JobResult) -> str | None:
    """Return a warning if even a candidate without any difference cannot show what the gate on accuracy requires."""
    left, needed = prepared.facts["samples"], ctx.samples_needed
    if left >= needed:
        return None
    total = prepare_graph.total_for(needed)
    return (
        f"the gate on accuracy_kept needs {needed} evaluation samples even if no decision differs; {left} are left: "
        f"give {total} or more with --eval (a quarter is used for calibration), or {needed} with separate ones for "
        "--calibrate"
    )


def _batch(ctx: RunContext) -> int:
    """Return the graph's fixed batch size, else that of the workload."""
    fixed = axes.fixed_batch(ctx.model.inputs, layout.of(ctx))
    return ctx.workload.batch if fixed is None else fixed


def _load(work: Workload) -> dict[str, Any]:
    """Return the arguments for a stream of frames or for concurrent clients; {} for one request after another."""
    if work.frames_per_s:
        return {"frames_per_s": work.frames_per_s, "deadline_ms": work.deadline_ms}
    return {"clients": work.concurrency} if work.concurrency > 1 else {}


def _metric(ctx: RunContext, labels: Any) -> str | None:
    if labels is None:
        if ctx.metric:
            raise InputError(
                f"--metric {ctx.metric} needs labels, and the samples have none",
                hint="add an array `labels` to the npz, or leave --metric out to measure agreement with the original",
            )
        return None
    return ctx.metric or metrics.default(labels, ctx.model.task)


def _outputs(
    ctx: RunContext, recipe: Recipe, batch: int, inputs: Mapping[str, Input], on_progress: Any
) -> JobResult:
    return ctx.run(
        recipe.backend,
        "edgehone.worker.score_graph:outputs",
        {"settings": dict(recipe.settings), "batch": batch},
        inputs,
        opens_session=True,
        on_progress=on_progress,
        silent=BATCH_TIMEOUT,
    )


def score(ctx: RunContext, original: Original, recipe: Recipe, artifact: Input) -> JobResult:
    """Run a candidate on the evaluation samples."""
    inputs = {"artifact": artifact, **original.inputs, "reference": Input.of(original.reference)}
    return _outputs(ctx, recipe, original.request["batch"], inputs, ctx.announce(recipe, "scoring"))


def prescreen(ctx: RunContext, original: Original, recipe: Recipe, artifact: JobResult) -> dict[str, Figure]:
    """Return no figures: running all samples takes no longer than opening the artifact."""
    return {}


def kept_by_window(original: Original, trial: Trial) -> None:
    """Return None: candidates of a graph are not compared by samples, so the race never eliminates one for quality."""


def fill_quality(original: Original, trial: Trial, scored: JobResult) -> None:
    """Set a trial's quality figures, and keep the values per sample. Disqualify it if an output collapsed."""
    metric, outputs_roles = original.facts["metric"], original.facts["roles"]
    stored = agreement.read(original.reference.out)
    reference, candidate = aligned(stored, agreement.read(scored.out, stored), roles.padded(outputs_roles))
    outputs_roles = roles.with_sizes(outputs_roles, reference)
    trial.figures.update(
        agreement.figures(reference, candidate, outputs_roles, original.facts["labels"], metric)
    )
    trial.figures.update(original.facts["by_library"](Input.of(scored)))
    trial.facts["metric"] = metric or "agreement"
    trial.facts["agreement"] = {
        name: [figure.to_json() for figure in figures]
        for name, figures in agreement.by_output(reference, candidate, outputs_roles).items()
    }
    trial.samples["outputs"] = agreement.rows(reference, candidate, outputs_roles)
    if (why := collapse.reason(outputs_roles, reference, candidate)) is not None:
        trial.drop("disqualified", why)


def parity_check(original: Original, exact: Trial, scored: JobResult, required: Requirements) -> ParityCheck:
    """Compare the outputs of the unquantized build with those of the original."""
    return agreement.parity_check(exact.figures, required.parity_check)


def speed_figures(original: Original, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Return the speed figures from the requests of all rounds; a request is a batch."""
    return speed.figures(rounds, request_shape(original))


def request_shape(original: Original) -> speed.Request:
    """Return the batch size, concurrency and frame rate of the requests."""
    request = original.request
    pace = request.get("frames_per_s", 0.0)
    return speed.Request(batch=request["batch"], clients=request.get("clients", 1), frames_per_s=pace)


def summary(trial: Trial) -> str:
    """Return the relative error, for the live table."""
    error = trial.figures["relative_error"].value
    return "" if error is None else f"error {error:.2g}"
