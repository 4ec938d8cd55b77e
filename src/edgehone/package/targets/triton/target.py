"""A model repository of NVIDIA Triton Inference Server, for its ONNX Runtime backend or its Python backend.

The configuration is parsed with Triton's protobuf definition. Where a tritonserver is installed, it loads the
repository and must give the proven outputs.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.formats.graph import Tensor
from edgehone.inputs.axes import Axes, fixed_batch
from edgehone.package import canary_files, graphs
from edgehone.package.target import Built, Check, Deliverable, Option, Request, Tool
from edgehone.package.targets.triton import checks, config

NAME: Final = "triton"
SUMMARY: Final = "a model repository of NVIDIA Triton Inference Server for a graph"
TOOLS: Sequence[Tool] = ()
OPTIONS: Sequence[Option] = (
    Option("name", "name of the model"),
    Option("backend", "Triton's backend that runs the graph", "onnxruntime", ("onnxruntime", "python")),
    Option("acceleration", "what the graph runs on", "cpu", tuple(config.PROVIDERS)),
    Option(
        "precision",
        "precision mode of TensorRT (default: int8 for int8 graphs, else fp32)",
        None,
        ("fp32", "fp16", "int8"),
    ),
    Option("instances", "copies of the model, on each GPU if there are several", "1"),
    Option(
        "max_batch_size",
        "most samples of a batch; 1: requests are not batched (default: the fastest measured, or 8)",
    ),
    Option("queue_delay_us", "microseconds that a request waits for others to join", "500"),
    Option("states", "inputs that get an output's value in the next request of a sequence: INPUT=OUTPUT,…"),
    Option(
        "batch_processing",
        "dynamic: requests are joined; static: a request is a batch",
        "dynamic",
        ("dynamic", "static"),
    ),
    Option(
        "tensor_parallelism", "whether several GPUs share a copy of the model", "false", ("false", "true")
    ),
)
BUDGET: int | None = None
_FILES = resources.files(__package__)
_DEFAULT_BATCH = 8


def refuses(bundle: Bundle) -> str | None:
    """Return why the target cannot serve the bundle's artifact by Triton."""
    if reason := graphs.refused(bundle):
        return reason
    if bundle.manifest.kind == "language":
        return (
            "Triton's onnxruntime and python backends answer a request in one run of a graph, and a language model "
            "needs a run for each token; its vLLM and TensorRT-LLM backends load the original checkpoint, not the "
            "proven artifact. The targets ovms and container serve language models"
        )
    backend = bundle.manifest.recipe["backend"]
    if backend not in graphs.ONNX_BACKENDS:
        return f"its artifact is {backend}'s; this target serves ONNX graphs of the backends olive and onnxruntime"
    return None


def build(request: Request, folder: Path) -> Built:
    """Write the model repository, the canary and a client."""
    bundle, name, options = request.bundle, graphs.model_name(request), request.options
    states = _states(options.get("states"), graphs.inputs_of(bundle), graphs.outputs_of(bundle))
    batch, said = _batch(request, states)
    one = config.Served(
        name=name,
        backend=options["backend"],
        graph=graphs.onnx_file(bundle).name,
        inputs=[_ranked(port) for port in graphs.inputs_of(bundle)],
        outputs=[_ranked(port) for port in graphs.outputs_of(bundle)],
        batch=batch,
        delay=_whole(options["queue_delay_us"], "queue_delay_us", least=0),
        instances=_whole(options["instances"], "instances"),
        accelerator=options["acceleration"],
        precision=_precision(request),
        joins=options["batch_processing"] == "dynamic",
        states=states,
        settings={key: value for key, value in bundle.manifest.recipe["settings"].items() if key != "device"},
    )
    place = folder / "models" / name
    carried = graphs.carry(bundle, folder, f"models/{name}/1")
    (place / "config.pbtxt").write_text(config.text(one), "utf-8")
    if one.backend == "python":
        shutil.copyfile(str(_FILES / "model.py.txt"), place / "1" / "model.py")
    question, answer = graphs.canaries_of(bundle)[0]
    canary_files.write(
        folder / canary_files.FOLDER, question, answer, quantized=bool(bundle.manifest.facts.get("quantized"))
    )
    client = Template((_FILES / "client.py.txt").read_text("utf-8")).substitute(name=name)
    (folder / "client.py").write_text(client, "utf-8")
    return Built(
        (Deliverable("models", "model repository"),),
        carried,
        _readme(bundle, one, said),
        (said, *_notes(request, one)),
    )


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Parse config.pbtxt with Triton's own definition, and ask Triton for the canary where it is installed."""
    return checks.run(folder, scratch)


def _whole(text: str, name: str, least: int = 1) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise InputError(
            f"the option {name} of {NAME} is {text!r}", hint=f"give a whole number of at least {least}"
        )
    return int(text)


def _ranked(port: Tensor) -> Tensor:
    if not port.ranked:
        raise InputError(
            f"the graph states no shape for {port.name!r}, which Triton's configuration needs",
            hint="export the model with shapes",
        )
    return port


def _states(given: str | None, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, str]:
    """Return the outputs that are fed back, by input. Raises InputError if they do not fit each other."""
    ports, results = ({one.name: one for one in some} for some in (inputs, outputs))
    found: dict[str, str] = {}
    for pair in given.split(",") if given else ():
        source, _, target = pair.strip().partition("=")
        hint = f"states=INPUT=OUTPUT,… with inputs {', '.join(ports)} and outputs {', '.join(results)}"
        if source not in ports or target not in results:
            raise InputError(f"the option states of {NAME} is {given!r}", hint=hint)
        one, other = ports[source], results[target]
        if one.dtype != other.dtype or len(one.shape) != len(other.shape):
            raise InputError(
                f"the output {target!r} does not have the type and rank of the input {source!r}", hint=hint
            )
        found[source] = target
    if len(found) == len(ports):
        raise InputError(f"states={given} leaves no input for a request", hint="name only what is fed back")
    return found


def _batch(request: Request, states: Mapping[str, str]) -> tuple[int, str]:
    """Return the most samples of a batch, 0 if requests are not batched, and a sentence on it."""
    bundle = request.bundle
    given = request.options.get("max_batch_size")
    most = (
        _whole(given, "max_batch_size")
        if given
        else int(bundle.manifest.facts.get("best_batch", _DEFAULT_BATCH))
    )
    if most == 1:
        return 0, "Requests are not batched."
    if states:
        return 0, "Requests are not batched: each belongs to a sequence with its own state."
    tensors, axes = graphs.inputs_of(bundle), Axes.from_json(bundle.manifest.axes)
    fixed = fixed_batch(tensors, axes)
    if fixed is not None:
        return 0, f"Requests are not batched: the graph takes batches of exactly {fixed}."
    if odd := [one.name for one in tensors if axes.of_input(one.name) != 0]:
        return (
            0,
            f"Requests are not batched: Triton joins along the first axis, where {', '.join(odd)} has no samples.",
        )
    found = graphs.run_on_graph(request, "edgehone.worker.graph_service:joining")
    if found["axes"] is None or any(found["axes"].values()):
        return 0, f"Requests are not batched: {found['reason']}."
    return most, f"Up to {most} samples run as one batch: {found['reason']}."


def _precision(request: Request) -> str:
    given = request.options.get("precision")
    if given and request.options["acceleration"] != "tensorrt":
        raise InputError(
            "the option precision is for acceleration=tensorrt", hint="--set acceleration=tensorrt"
        )
    return (given or ("int8" if request.bundle.manifest.facts.get("quantized") else "fp32")).upper()


def _notes(request: Request, one: config.Served) -> list[str]:
    notes = []
    if request.options["tensor_parallelism"] == "true":
        notes.append(
            "tensor_parallelism is not met: ONNX Runtime runs a graph on one GPU (Triton's vLLM and TensorRT-LLM "
            "backends split models, and load the original checkpoint). What comes nearest: with acceleration=cuda or "
            f"tensorrt each GPU gets {one.instances} whole {'copy' if one.instances == 1 else 'copies'} of the model"
        )
    if one.accelerator != "cpu":
        notes.append(
            f"acceleration={one.accelerator} was not run: the quality figures hold for ONNX Runtime's kernels on the "
            "processor; run client.py on the machine with the GPU"
        )
    types = request.bundle.manifest.facts.get("weight_types", {})
    if one.accelerator == "tensorrt" and any("4" in kind.split(" in ")[0] for kind in types):
        notes.append("TensorRT has no precision mode for 4-bit weights here: CUDA's kernels compute them")
    return notes


def _readme(bundle: Bundle, one: config.Served, batching: str) -> str:
    version = graphs.version_of(bundle, "onnxruntime")
    package = "onnxruntime" if one.accelerator == "cpu" else "onnxruntime-gpu"
    needs = (
        f"The Python backend needs ONNX Runtime in its Python: `pip install {package}=={version} 'numpy<2'`.\n"
        if one.backend == "python"
        else ""
    )
    return Template((_FILES / "README.md").read_text("utf-8")).substitute(
        name=one.name,
        backend=one.backend,
        needs=needs,
        version=version,
        architecture=bundle.manifest.device["architecture"],
        batching=batching,
    )
