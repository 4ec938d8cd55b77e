"""How a graph (ONNX, an exported program, an encoder) is judged and measured: by its outputs on the user's samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgehone.backends.base import Recipe
from edgehone.decide.requirements import Requirements
from edgehone.errors import InputError, JobError, ModelError
from edgehone.events import Event
from edgehone.figure import Figure
from edgehone.jobs.run import Input
from edgehone.jobs.store import JobResult
from edgehone.measure import agreement, metrics, samples, speed, texts
from edgehone.measure.quality import NullTest
from edgehone.measure.workload import Workload
from edgehone.model import digest
from edgehone.model.info import ModelInfo
from edgehone.stages.bench import Bench
from edgehone.stages.build import build
from edgehone.stages.original import Original
from edgehone.stages.request import Request
from edgehone.stages.trial import Trial

# Seconds that one batch of samples may take: a graph can hold a loop that never ends.
PATIENCE = 600.0


def default_workload(model: ModelInfo) -> str:
    """Vectors of an encoder without a head; else answers."""
    return "embed" if model.task == "feature-extraction" else "classify"


def inputs(request: Request, model: ModelInfo) -> dict[str, Input]:
    """The samples, checked, with their digests. An encoder of texts gets the shipped texts where none are given."""
    if request.task:
        raise InputError(
            f"--task {request.task}: multiple choice is for language models", hint="give samples with --eval"
        )
    if request.metric:
        metrics.find(request.metric)
    paths = {"evaluation": request.evaluation, "calibration": request.calibration}
    if not request.evaluation and model.format == "huggingface":
        paths = {name: path or texts.shipped(name) for name, path in paths.items()}  # type: ignore[arg-type]
    if not paths["evaluation"]:
        raise InputError(
            f"{model.path} is judged by its outputs on samples, and none were given",
            hint=f"edgehone optimize {model.path} --eval SAMPLES (FILE.npz, or a folder of images)",
        )
    found = {}
    for name, given in paths.items():
        if given:
            path = Path(given)
            samples.check(path, model)
            found[name] = Input(path.resolve(), _digest(path))
    return found


def _digest(path: Path) -> str:
    if not path.is_dir():
        return digest.digest_file(path)
    files = json.dumps(digest.digest_folder(path), sort_keys=True)
    return hashlib.sha256(files.encode()).hexdigest()


def prepare(bench: Bench) -> tuple[Bench, JobResult]:
    """Turn the samples into arrays; the bench returned offers `calibration` to builds."""
    bench.emit(Event("", detail="reading the samples"))
    tensors = bench.model.to_json()["inputs"]
    args = {"inputs": tensors, "task": bench.model.task, "most": bench.depth.samples, **bench.pixels}
    args["digests"] = {name: given.identity for name, given in bench.texts.items()}
    try:
        prepared = bench.run(
            bench.origin.NAME,
            "edgehone.measure.prepare_graph:prepare",
            args,
            {"model": bench.source, **bench.texts},
            opens=True,
        )
    except JobError as error:
        raise InputError(f"the samples cannot be used: {error.message}", hint=error.hint) from error
    calibration = Input.of(prepared, "calibration")
    return replace(bench, texts={"calibration": calibration}), prepared


def reference(bench: Bench, prepared: JobResult) -> Original:
    """Run the original, unoptimised, on the evaluation samples, and make it (as its users run it) the baseline."""
    recipe = bench.origin.reference(bench.model)
    given = Input.of(prepared, "evaluation")
    batch = _batch(bench)
    tell = bench.tell(recipe, "scoring", "the original on the samples")
    try:
        artifact = Input.of(build(bench, recipe))
        found = _outputs(bench, recipe, batch, {"artifact": artifact, "samples": given}, tell)
        own = agreement.read(found.out)
        labels = agreement.labels_of(given.path, found.facts["samples"])
        metric = _metric(bench, labels)
        if labels is not None and metric is not None:
            for folder in (given.path, prepared.out / "calibration"):
                if (some := agreement.labels_of(folder)) is not None:
                    metrics.check_labels(metric, own, some)
            agreement.figures(own, own, labels, metric)
    except JobError as error:
        raise ModelError(
            f"the original cannot be run: {error.message}" + (f" (log: {error.log})" if error.log else ""),
            hint=error.hint or f"edgehone inspect {bench.model.path}",
        ) from error
    bench.emit(Event(recipe.key, "done"))
    return Original(
        prepared,
        found,
        Trial(bench.origin.original(bench.model)),
        {"batch": batch, **_load(bench.workload)},
        given={"samples": given},
        facts={"labels": labels, "metric": metric},
    )


def _batch(bench: Bench) -> int:
    """The workload's, or that which the graph is fixed to."""
    first = bench.model.inputs[0].shape[:1] if bench.model.inputs else ()
    return int(first[0]) if first and isinstance(first[0], int) else bench.workload.batch


def _load(work: Workload) -> dict[str, Any]:
    """How requests come, where that is not one after another."""
    if work.frames_per_s:
        return {"frames_per_s": work.frames_per_s, "deadline_ms": work.deadline_ms}
    return {"clients": work.concurrency} if work.concurrency > 1 else {}


def _metric(bench: Bench, labels: Any) -> str | None:
    if labels is None:
        if bench.metric:
            raise InputError(
                f"--metric {bench.metric} needs labels, and the samples have none",
                hint="put an array `labels` into the npz, or leave --metric out: agreement with the original is judged",
            )
        return None
    return bench.metric or metrics.default(labels)


def _outputs(bench: Bench, recipe: Recipe, batch: int, given: Mapping[str, Input], tell: Any) -> JobResult:
    return bench.run(
        recipe.backend,
        "edgehone.measure.score_graph:outputs",
        {"settings": dict(recipe.settings), "batch": batch},
        given,
        opens=True,
        tell=tell,
        silent=PATIENCE,
    )


def score(bench: Bench, original: Original, recipe: Recipe, artifact: Input) -> JobResult:
    """Run a candidate on the samples that the original was run on."""
    given = {"artifact": artifact, **original.given, "reference": Input.of(original.reference)}
    return _outputs(bench, recipe, original.request["batch"], given, bench.tell(recipe, "scoring"))


def glance(bench: Bench, original: Original, recipe: Recipe, artifact: JobResult) -> dict[str, Figure]:
    """Nothing: all samples take no longer than opening the artifact."""
    return {}


def kept_by_window(original: Original, trial: Trial) -> None:
    """Nothing: a graph's candidates are not compared by samples, so none is out for its quality."""


def judge(original: Original, trial: Trial, scored: JobResult) -> None:
    """Fill a trial's quality figures, and keep what they are made of by sample."""
    reference, own = agreement.read(original.reference.out), agreement.read(scored.out)
    metric = original.facts["metric"]
    trial.figures.update(agreement.figures(reference, own, original.facts["labels"], metric))
    trial.facts["metric"] = metric or "agreement"
    trial.samples["outputs"] = agreement.rows(reference, own)


def null_test(original: Original, exact: Trial, scored: JobResult, required: Requirements) -> NullTest:
    """How far the outputs of the unquantized build are from the original's."""
    return agreement.null_test(exact.figures, required.null_test)


def speed_figures(original: Original, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Latency of a batch."""
    return speed.figures(rounds, asked(original))


def asked(original: Original) -> speed.Asked:
    """What a request is."""
    request = original.request
    pace = request.get("frames_per_s", 0.0)
    return speed.Asked(batch=request["batch"], clients=request.get("clients", 1), frames_per_s=pace)


def summary(trial: Trial) -> str:
    """The quality in a word, for the live table."""
    error = trial.figures["relative_error"].value
    return "" if error is None else f"error {error:.2g}"
