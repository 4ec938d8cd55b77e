"""onnxruntime: the original of an ONNX graph, as its users run it: the reference for quality, the baseline for speed.

Nothing is built: an artifact is a folder of links to the .onnx file and the files that hold its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from edgehone.backends.base import (
    Needs,
    Recipe,
    Step,
    Support,
)
from edgehone.backends.onnxruntime import devices as onnxruntime_devices
from edgehone.backends.sessions import (
    OperatorTime,
    WorkerJob,
)
from edgehone.backends.shared import onnx_files
from edgehone.core.errors import InputError
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.onnxruntime.session import OrtSession

devices = onnxruntime_devices.devices

NAME = "onnxruntime"
REFERENCE = True
NEEDS = Needs(
    lock=Path(__file__).with_name("lock.txt"),
    versions=("onnxruntime", "onnx", "numpy", "pillow"),
)


def supports(model: ModelInfo) -> Support:
    """ONNX files whose operators ONNX Runtime brings along."""
    reasons = refusals(model)
    return Support(not reasons, tuple(reasons))


def refusals(model: ModelInfo) -> list[str]:
    """Why ONNX Runtime cannot run a model; none if it can, as far as headers tell."""
    if model.format != "onnx":
        return [f"ONNX Runtime runs ONNX files, not the format '{model.format}'"]
    reasons = []
    if custom := custom_operators(model):
        reasons.append(f"operators that ONNX Runtime does not bring along: {', '.join(custom)}")
    return reasons


def custom_operators(model: ModelInfo) -> list[str]:
    """Operators of domains that are neither built in nor, as PyTorch's exporter writes them, functions of the file."""
    domains = {name: name.rpartition("::")[0] for name in model.operators}
    return [n for n, d in domains.items() if d not in onnx_files.BUILT_IN and not d.startswith("pkg.")]


def recipes(model: ModelInfo) -> list[Recipe]:
    """The original and nothing else: it is what candidates are compared with."""
    return [original(model)]


def original(model: ModelInfo) -> Recipe:
    """The original by ONNX Runtime as it is installed, with all its optimisations."""
    settings = {"graph_optimization": "all"}
    return Recipe(NAME, "original", settings=settings, effort="quick", exact=True, why="the model as it is")


def reference(model: ModelInfo) -> Recipe:
    """The original operator by operator, without optimisations."""
    settings = {"graph_optimization": "disabled"}
    return Recipe(
        NAME, "reference", settings=settings, effort="quick", exact=True, why="what quality is judged by"
    )


def steps(recipe: Recipe) -> Step:
    """Links to the model's files; the same for every recipe."""
    return Step("edgehone.backends.onnxruntime.backend:link_original", reads=("model",), links=True)


def link_original(job: WorkerJob) -> dict[str, Any]:
    """Links to the .onnx file and its data files, by the same names, which the file knows them by.

    ModelError for what ONNX Runtime does not know and for missing data. Returns `onnx_files.facts`.
    """
    source = onnx_files.find(job.inputs["model"].absolute())
    model = onnx_files.check(source)
    for name in (source.name, *onnx_files.data_files(model, source.name)):
        link = job.out / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source.parent / name)
    return onnx_files.facts(source)


def open_graph(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> OrtSession:
    """A session with `job.threads`; the settings are those of OrtSession."""
    from edgehone.backends.onnxruntime.session import OrtSession

    return OrtSession(onnx_files.find(artifact), settings, job.threads)


def open_graph_many(artifact: Path, settings: Mapping[str, Any], job: WorkerJob, clients: int) -> OrtSession:
    """The same: a session of ONNX Runtime takes calls of several threads, which share its own."""
    return open_graph(artifact, settings, job)


def operator_times(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, **request: Any
) -> list[OperatorTime]:
    """One batch of a graph, by ONNX Runtime's profiler."""
    from edgehone.backends.onnxruntime.operators import of_graph

    return of_graph(onnx_files.find(artifact), settings, job.threads, request["feeds"], job.out)


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> NoReturn:
    """A graph does not generate text: InputError."""
    raise InputError("the onnxruntime backend runs graphs, not language models", hint="edgehone backends")
