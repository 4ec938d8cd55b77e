"""The onnxruntime backend: runs the original of an ONNX graph, as the quality reference and the speed baseline.

Nothing is built: an artifact is a folder of links to the .onnx file and its external data files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from edgehone.backends.base import Needs, Recipe, Step, Support
from edgehone.backends.onnxruntime import devices as onnxruntime_devices
from edgehone.backends.sessions import OperatorTime, WorkerJob
from edgehone.backends.shared import graph_ports, onnx_files
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
    runtime={"graph": ("numpy", "onnxruntime")},
    engine={"graph": ("numpy", "onnxruntime")},
)


def supports(model: ModelInfo) -> Support:
    """Return whether the model is an ONNX file whose operators are all built into ONNX Runtime."""
    reasons = refusals(model)
    return Support(not reasons, tuple(reasons))


def refusals(model: ModelInfo) -> list[str]:
    """Return why ONNX Runtime cannot run a model, as far as its headers tell; an empty list if it can."""
    if model.format != "onnx":
        return [f"ONNX Runtime runs ONNX files, not the format '{model.format}'"]
    reasons = []
    if custom := custom_operators(model):
        reasons.append(f"operators that are not built into ONNX Runtime: {', '.join(custom)}")
    return reasons + graph_ports.refusals(model)


def custom_operators(model: ModelInfo) -> list[str]:
    """Return operators that need a custom library: neither of a built-in domain nor defined in the file.

    PyTorch's exporter writes functions into the file, in domains that start with "pkg.".
    """
    domains = {name: name.rpartition("::")[0] for name in model.operators}
    return [n for n, d in domains.items() if d not in onnx_files.BUILT_IN and not d.startswith("pkg.")]


def recipes(model: ModelInfo) -> list[Recipe]:
    """Return the original only: candidates come from other backends."""
    return [original(model)]


def original(model: ModelInfo) -> Recipe:
    """Return the original run by ONNX Runtime with its default optimizations: the baseline for speed and memory."""
    settings = {"graph_optimization": "all"}
    return Recipe(NAME, "original", settings=settings, effort="quick", exact=True, why="the unchanged model")


def reference(model: ModelInfo) -> Recipe:
    """Return the original run operator by operator, without graph optimizations: the reference for quality."""
    settings = {"graph_optimization": "disabled"}
    return Recipe(
        NAME, "reference", settings=settings, effort="quick", exact=True, why="the reference for quality"
    )


def steps(recipe: Recipe) -> Step:
    """Return the step that links the model's files; it is the same for every recipe."""
    return Step("edgehone.backends.onnxruntime.backend:link_original", reads=("model",), links=True)


def link_original(job: WorkerJob) -> dict[str, Any]:
    """Link to the .onnx file and its data files, under the names that the file refers to (worker side).

    inputs: model. Returns `onnx_files.facts`. Raises ModelError for operators unknown to ONNX Runtime and for
    missing data files.
    """
    source = onnx_files.find(job.inputs["model"].absolute())
    model = onnx_files.check(source)
    for name in (source.name, *onnx_files.data_files(model, source.name)):
        link = job.out / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source.parent / name)
    return onnx_files.facts(source)


def open_graph(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> OrtSession:
    """Open a session with `job.threads` (worker side). The settings are those of OrtSession."""
    from edgehone.backends.onnxruntime.session import OrtSession

    return OrtSession(onnx_files.find(artifact), settings, job.threads)


def open_graph_many(artifact: Path, settings: Mapping[str, Any], job: WorkerJob, clients: int) -> OrtSession:
    """Open the same session: ONNX Runtime accepts calls from several threads, which share the session's threads."""
    return open_graph(artifact, settings, job)


def start_runtime(kind: Literal["language", "graph"], job: WorkerJob) -> None:
    """Start ONNX Runtime without a model (worker side)."""
    from edgehone.backends.onnxruntime.empty_runtime import start_session

    start_session(job.threads)


def operator_times(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, **request: Any
) -> list[OperatorTime]:
    """Time the operators of one batch of a graph with ONNX Runtime's profiler (worker side)."""
    from edgehone.backends.onnxruntime.operators import of_graph

    return of_graph(onnx_files.find(artifact), settings, job.threads, request["feeds"], job.out)


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> NoReturn:
    """Raise InputError: graphs do not generate text."""
    raise InputError("the onnxruntime backend runs graphs, not language models", hint="edgehone backends")
