"""The requests of the bundle's workload: prompts, or samples of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.certify.found import Skipped
from edgehone.certify.subject import Subject
from edgehone.evaluation import speed
from edgehone.execution.job import Input
from edgehone.inputs import sample_arrays, samples, texts
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches
from edgehone.model.digest import digest_file
from edgehone.worker import canaries


@dataclass(frozen=True)
class Requests:
    """Arguments and inputs of `worker.requests.open_requests`, and the shape of a request."""

    args: Mapping[str, Any]
    inputs: Mapping[str, Input]
    shape: speed.Request


def requests_of(subject: Subject) -> Requests:
    """Return the requests of the workload that the bundle was made for."""
    work = subject.bundle.decision.workload
    if not subject.is_language:
        args: dict[str, Any] = {"batch": subject.bundle.manifest.batch}
        clients = int(work.get("concurrency", 1))
        if work.get("frames_per_s"):
            args |= {"frames_per_s": work["frames_per_s"], "deadline_ms": work["deadline_ms"]}
        elif clients > 1:
            args |= {"clients": clients}
        shape = speed.Request(
            batch=args["batch"], clients=args.get("clients", 1), frames_per_s=args.get("frames_per_s", 0.0)
        )
        return Requests(args, {"samples": Input(subject.once(sample_folder), "certify")}, shape)
    text = texts.shipped("evaluation")
    batch, clients = int(work["batch"]), int(work.get("concurrency", 1))
    prompts = subject.run(
        "edgehone.worker.profile_workload:prompts",
        {"count": work["prompt_tokens"], "prompts": batch * clients},
        {"text": Input(text, digest_file(text))},
    ).facts["prompts"]
    generated = int(work["generated_tokens"])
    shape = speed.Request(len(prompts[0]), generated, batch, clients)
    if batch * clients == 1:
        return Requests({"prompt": prompts[0], "generated": generated}, {}, shape)
    load = {"batch": batch, "clients": clients}
    return Requests({"prompts": prompts, "generated": generated, **load}, {}, shape)


def sample_folder(subject: Subject) -> Path:
    """Return a folder with samples of a graph, as `Batches.write` fills it: the given ones, else the canaries."""
    manifest = subject.bundle.manifest
    axes = Axes.from_json(manifest.axes)
    given = subject.sources.evaluation
    if given is not None and samples.kind_of(given) == "arrays":
        arrays = samples.read_arrays(given)
        arrays.pop(SLICES, None)
        tensors = [samples.tensor(one) for one in manifest.inputs]
        sample_arrays.check_arrays(arrays, tensors, str(given), axes)
        batches = Batches.arranged(sample_arrays.typed(arrays, tensors), axes)
    elif subject.bundle.canaries is not None:
        questions = [question for question, _ in canaries.read(subject.bundle.canaries)]
        batches = _joined(questions, axes)
    else:
        raise Skipped("the bundle has no canaries: give samples with --eval FILE.npz")
    folder = subject.work / "samples"
    folder.mkdir(exist_ok=True)
    batches.write(folder)
    return folder


# The array of an npz file that names the slice of each sample.
SLICES = "slices"


def _joined(questions: list[dict[str, Any]], axes: Axes) -> Batches:
    import numpy as np

    arrays = {}
    for name, first in questions[0].items():
        axis = axes.of_input(name)
        arrays[name] = first if axis is None else np.concatenate([one[name] for one in questions], axis)
    return Batches.arranged(arrays, axes)
