"""The olive backend: Olive's quantization passes and ONNX Runtime GenAI's model builder; runs on both runtimes.

A build is a chain of steps, each shared by all recipes that need it: `checkpoint` (Olive's passes over the Hugging
Face model), `onnx` (the model builder, which also quantizes), `hqq` (ONNX Runtime's quantizer for the matrices that
the builder left in float) and `compress` (Olive's passes over the ONNX graph). `recipes.toml` lists what can be
built, `architectures.txt` for which models. The steps are in `build`, the session is in `session`; graphs are in
`graph` and `graph_build`.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgehone.backends.base import Needs, Recipe, Step, Support, TunableSetting
from edgehone.backends.olive import graph
from edgehone.backends.onnxruntime import devices as onnxruntime_devices
from edgehone.backends.onnxruntime import placement
from edgehone.backends.sessions import OperatorTime, WorkerJob
from edgehone.backends.shared.checkpoints import language_model_refusals
from edgehone.backends.shared.groups import fits, rows, unfit
from edgehone.backends.shared.recipe_table import fitting
from edgehone.backends.shared.tunable_settings import Kind, settings_from_table
from edgehone.core.errors import JobError
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.olive.engine import OliveEngine
    from edgehone.backends.olive.session import OliveSession

open_graph = graph.open_graph
open_graph_many = graph.open_graph_many
devices = onnxruntime_devices.devices
device_recipes = placement.device_recipes

NAME = "olive"
REFERENCE = False
NEEDS = Needs(
    lock=Path(__file__).with_name("lock.txt"),
    versions=("olive-ai", "onnxruntime", "onnxruntime-genai", "onnx", "transformers", "torch"),
    runtime={
        "language": ("jinja2", "markupsafe", "numpy", "onnxruntime", "onnxruntime-genai", "tokenizers"),
        "graph": ("numpy", "onnxruntime", "tokenizers"),
    },
    engine={"language": ("onnxruntime_genai", "tokenizers"), "graph": ("numpy", "onnxruntime")},
)

# See docs/left-out.md.
NO_AWQ = "no AWQ: Olive's passes for it call packages that cannot be imported here; the openvino backend offers AWQ"

_BUILD = "edgehone.backends.olive.build"
# Passes that use the calibration text.
_CALIBRATED_PASSES = ("Gptq",)


@functools.cache
def architectures() -> dict[str, bool]:
    """Return the model types that the pinned builder converts; True if Olive's passes support them too."""
    text = Path(__file__).with_name("architectures.txt").read_text("utf-8")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {name: "passes" in rest for name, *rest in lines}


def supports(model: ModelInfo) -> Support:
    """Return whether the model builder converts the architecture, and which recipes do not fit its shape."""
    if model.kind == "graph":
        return graph.supports_graph(model)
    known = model.model_type in architectures()
    unknown = (
        None if known else f"the model builder's conversion of '{model.model_type}' has not been verified"
    )
    refusals = language_model_refusals(model, "the model builder reads", unknown)
    if refusals:
        return Support(False, tuple(refusals))
    lengths = rows(model)
    excluded = sorted({group for e in _table()["recipe"] if not fits(group := e.get("group", 0), lengths)})
    notes = [f"groups of {g}: do not divide rows of {unfit(g, lengths)}" for g in excluded]
    if not architectures()[model.model_type]:
        notes.append(f"no GPTQ and k-quant checkpoints: Olive's passes do not support '{model.model_type}'")
    return Support(True, (*notes, NO_AWQ))


def recipes(model: ModelInfo) -> list[Recipe]:
    """Return fp32, then int8 and int4, most promising first, except those that do not fit the model."""
    if model.kind == "graph":
        return graph.graph_recipes(model)
    lengths = rows(model)
    passes = architectures().get(model.model_type, False)

    def possible(entry: Mapping[str, Any]) -> bool:
        return fits(entry.get("group", 0), lengths) and (passes or "checkpoint" not in entry)

    # The sensitivity of experts is not measured, so mixed precision is not offered for them.
    entries = [entry for entry in _table()["recipe"] if not ("mix" in entry and model.experts)]
    return [
        replace(_recipe(entry, model), effort=effort, bits=_bits(entry, model))
        for entry, effort in fitting(entries, possible)
    ]


def _bits(entry: Mapping[str, Any], model: ModelInfo) -> float:
    """Return bits per weight, including scales and zero points.

    The average is over the transformer blocks, the head and the embeddings. A scale is a float32 per group, a zero
    point is as wide as a weight.
    """
    if "mix" in entry:
        return float(entry["mix"]["bits"])
    builder = entry["builder"]
    share = (model.vocabulary or 0) * (model.hidden_size or 0) / max(model.parameters, 1)
    embeddings = _table()["embedding"]
    embedding_bits = _width(embeddings["bits"], embeddings["block_size"], False)
    if "hqq" in entry:  # zero points are floats, like scales, and embeddings are never tied
        matrix_bits = 4 + 64 / entry["hqq"]["block_size"]
        return float(share * embedding_bits + (1 if model.tied_embeddings else 1 - share) * matrix_bits)
    if builder["precision"] == "fp32":
        return 32.0
    bits, block_size = int(builder["precision"].removeprefix("int")), builder["block_size"]
    has_zero_points = not builder.get("is_symmetric", True)
    algorithm = builder.get("algo_config", "")
    blocks = _width(bits, block_size, has_zero_points)
    passes = entry.get("checkpoint", ())
    for each in passes:
        if "bits" in each:
            blocks = _width(each["bits"], each["group_size"], has_zero_points)
    if any("mixed" in name for name in (algorithm, *(each.get("algorithm", "") for each in passes))):
        mixed_share = float(_table()["mixed"]["share"])
        blocks = (1 - mixed_share) * blocks + mixed_share * _width(8, block_size, has_zero_points)
    head_in_8_bits = algorithm in ("k_quant_last", "k_quant_mixed")
    head = (
        32.0
        if "nodes_to_exclude" in builder
        else _width(8 if head_in_8_bits else bits, block_size, has_zero_points)
    )
    if model.tied_embeddings:
        return share * head + (1 - share) * blocks
    return share * (head + embedding_bits) + (1 - 2 * share) * blocks


def _width(bits: int, group: int, has_zero_points: bool) -> float:
    return bits + (32 + (bits if has_zero_points else 0)) / group


def _recipe(entry: Mapping[str, Any], model: ModelInfo) -> Recipe:
    exact = entry["family"] == "fp32"
    build = {part: entry[part] for part in ("checkpoint", "builder", "hqq", "mix") if part in entry}
    # The builder quantizes embeddings only in int4, and only if they are tied to the head.
    if not exact and (not model.tied_embeddings or entry["builder"]["precision"] != "int4"):
        build["compress"] = [_table()["embedding"]]
    return Recipe(
        NAME,
        entry["name"],
        build,
        effort=entry["effort"],
        exact=exact,
        calibrated=_calibrated(build.get("checkpoint", [])),
        why=entry["why"],
    )


def _calibrated(passes: list[Mapping[str, Any]]) -> bool:
    return any(one["pass"] in _CALIBRATED_PASSES for one in passes)


@functools.cache
def _table() -> dict[str, Any]:
    text = Path(__file__).with_name("recipes.toml").read_text("utf-8")
    return tomllib.loads(text)


def tunable_settings(recipe: Recipe, device: Device, context: int) -> list[TunableSetting]:
    """Return the runtime settings that may be searched for an artifact, from `recipes.toml`."""
    kind: Kind = "graph" if "graph" in recipe.build else "language"
    return settings_from_table(_table()["tuning"], device, kind, context)


def steps(recipe: Recipe) -> Step:
    """Return the steps of the recipe's build; steps that the recipe does not need are left out."""
    if "graph" in recipe.build:
        return placement.placed(recipe, graph.graph_steps(recipe))
    build = recipe.build
    inputs: dict[str, Step] = {}
    reads: tuple[str, ...] = ("model",)
    mix: dict[str, Any] = {}
    if "mix" in build:
        mix = {"mix": {**build["mix"], "menu": _table()["precision"], "together": _table()["together"]}}
        reads = ("model", "sensitivity")
    if passes := build.get("checkpoint"):
        checkpoint_reads = (*reads, "calibration") if _calibrated(passes) else reads
        inputs = {
            "checkpoint": Step(f"{_BUILD}:checkpoint", {"passes": passes, **mix}, reads=checkpoint_reads)
        }
    onnx = Step(f"{_BUILD}:onnx", {**build["builder"], **mix}, inputs, reads)
    if hqq := build.get("hqq"):
        onnx = Step(f"{_BUILD}:hqq", dict(hqq), {"onnx": onnx})
    if passes := build.get("compress"):
        return Step(f"{_BUILD}:compress", {"passes": passes, **mix}, {"onnx": onnx}, reads if mix else ())
    return onnx


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> OliveSession:
    """Open a session on the CPU (worker side). settings: spinning, arena (default: true for both)."""
    from edgehone.backends.olive.session import OliveSession

    return OliveSession(artifact, settings, job.threads)


def open_engine(artifact: Path, settings: Mapping[str, Any], job: WorkerJob, places: int) -> OliveEngine:
    """Open a language model for several requests at the same time, batched by ONNX Runtime GenAI (worker side)."""
    from edgehone.backends.olive.engine import OliveEngine
    from edgehone.backends.shared.kv_budget import context_of

    return OliveEngine(artifact, settings, job.threads, places, context_of(job.args.get("context"), places))


def start_runtime(kind: Literal["language", "graph"], job: WorkerJob) -> None:
    """Start ONNX Runtime, and for language models load ONNX Runtime GenAI, without a model (worker side)."""
    from edgehone.backends.onnxruntime.empty_runtime import start_session

    start_session(job.threads)
    if kind == "language":
        from edgehone.backends.olive.build import quiet

        quiet("onnxruntime_genai")


def operator_times(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, **request: Any
) -> list[OperatorTime]:
    """Time the operators of one request with ONNX Runtime's profiler (worker side).

    Language models run in ONNX Runtime GenAI's own loop.
    """
    from edgehone.backends.olive.session import OliveSession
    from edgehone.backends.onnxruntime import operators
    from edgehone.backends.shared import onnx_files

    if "feeds" in request:
        graph_settings = graph.tuned(artifact) | dict(settings)
        path = onnx_files.find(artifact)
        return operators.of_graph(path, graph_settings, job.threads, request["feeds"], job.out)
    session = OliveSession(artifact, {**settings, "profile": str(job.out / "profile")}, job.threads)
    session.generate(request["prompt"], request["generated"])
    session.close()
    # The file is written when the runtime releases its sessions.
    files = sorted(job.out.glob("profile*.json"))
    if not files:
        raise JobError("ONNX Runtime GenAI did not write a profile")
    first, *later = operators.read(files[0])
    summed = operators.summed
    return [*summed("prefill", [first]), *summed("decode", later)]
