"""olive: weights quantized by Olive's passes, ONNX by ONNX Runtime GenAI's model builder, run by both runtimes.

A build is a chain of at most three steps, each shared by all recipes that need it: `checkpoint` (Olive's passes
over the Hugging Face model), `onnx` (the model builder, which also quantizes), `hqq` (ONNX Runtime's quantizer over
what the builder left in float) and `compress` (Olive's passes over the ONNX graph). What can be built is data:
olive_recipes.toml; of which models too: olive_architectures.txt. The steps are in `olive_build`, the session in
`olive_session`.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import (
    EFFORTS,
    Needs,
    Recipe,
    Step,
    Support,
    TunableSetting,
)
from edgehone.backends.olive import graph
from edgehone.backends.onnxruntime import devices as onnxruntime_devices
from edgehone.backends.onnxruntime import placement
from edgehone.backends.sessions import (
    OperatorTime,
    WorkerJob,
)
from edgehone.backends.shared.tunable_settings import Kind, settings_from_table
from edgehone.core.errors import JobError
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
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
)

# docs/left-out.md tells more.
NO_AWQ = "no AWQ: Olive's passes call packages for it that do not import here; openvino offers it"

_BUILD = "edgehone.backends.olive.build"
# Passes that learn from the calibration text.
_CALIBRATED = ("Gptq",)


@functools.cache
def architectures() -> dict[str, bool]:
    """The model types that the pinned builder converts, and whether Olive's passes take the model itself too."""
    text = Path(__file__).with_name("architectures.txt").read_text("utf-8")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {name: "passes" in rest for name, *rest in lines}


def supports(model: ModelInfo) -> Support:
    """Whether the model builder converts the architecture, and which recipes its shape leaves out."""
    if model.kind == "graph":
        return graph.supports_graph(model)
    refusals = []
    if model.format != "huggingface":
        refusals.append(f"the model builder reads Hugging Face folders, not '{model.format}'")
    if model.task not in ("text-generation", "unknown"):
        refusals.append(f"only text generation can be scored, not '{model.task}'")
    if model.remote_code:
        refusals.append("the model brings code of its own, which is not run")
    elif model.model_type not in architectures():
        refusals.append(f"the model builder is not known to convert '{model.model_type}' truly")
    if model.quantized:
        refusals.append(f"quantized already ({model.quantized}): give the unquantized original")
    if refusals:
        return Support(False, tuple(refusals))
    rows = _rows(model)
    unfit = sorted({e["group"] for e in _table()["recipe"] if not _fits(e, rows)})
    notes = [f"groups of {g}: do not divide rows of {_named(rows, g)}" for g in unfit]
    if not architectures()[model.model_type]:
        notes.append(f"GPTQ and k-quant checkpoints: Olive's passes do not take '{model.model_type}'")
    return Support(True, (*notes, NO_AWQ))


def recipes(model: ModelInfo) -> list[Recipe]:
    """fp32, then int8 and int4 in order of promise, without those that do not fit the model."""
    if model.kind == "graph":
        return graph.graph_recipes(model)
    rows = _rows(model)
    passes = architectures().get(model.model_type, False)
    made: list[Recipe] = []
    untied = not model.tied_embeddings
    owed: dict[str, str] = {}  # family -> effort of its entries that do not fit
    for entry in _table()["recipe"]:
        effort, family = entry["effort"], entry["family"]
        if "mix" in entry and model.experts:  # experts are not measured
            continue
        if not _fits(entry, rows) or ("checkpoint" in entry and not passes):
            owed[family] = min(effort, owed.get(family, effort), key=EFFORTS.index)
            continue
        effort = min(effort, owed.pop(family, effort), key=EFFORTS.index)
        made_of = _recipe(entry, untied)
        bits = made_of.bits if "mix" in made_of.build else _bits(entry, model)
        made.append(replace(made_of, effort=effort, bits=bits))
    return made


def _bits(entry: Mapping[str, Any], model: ModelInfo) -> float:
    """Bits a weight, scales and zero points counted: of the blocks, and of the head and the embeddings by their share.

    A scale is a float32 for each group, a zero point as wide as a weight.
    """
    builder = entry["builder"]
    share = (model.vocabulary or 0) * (model.hidden_size or 0) / max(model.parameters, 1)
    embeddings = _table()["embedding"]
    looked_up = _width(embeddings["bits"], embeddings["block_size"], False)
    if "hqq" in entry:  # its zero points are floats like the scales, and its embeddings are never tied
        products = 4 + 64 / entry["hqq"]["block_size"]
        return float(share * looked_up + (1 if model.tied_embeddings else 1 - share) * products)
    if builder["precision"] == "fp32":
        return 32.0
    own, size = int(builder["precision"].removeprefix("int")), builder["block_size"]
    zeros = not builder.get("is_symmetric", True)
    algorithm = builder.get("algo_config", "")
    blocks = _width(own, size, zeros)
    passes = entry.get("checkpoint", ())
    for each in passes:
        if "bits" in each:
            blocks = _width(each["bits"], each["group_size"], zeros)
    if any("mixed" in name for name in (algorithm, *(each.get("algorithm", "") for each in passes))):
        mixed = float(_table()["mixed"]["share"])
        blocks = (1 - mixed) * blocks + mixed * _width(8, size, zeros)
    spared = algorithm in ("k_quant_last", "k_quant_mixed")
    head = 32.0 if "nodes_to_exclude" in builder else _width(8 if spared else own, size, zeros)
    if model.tied_embeddings:
        return share * head + (1 - share) * blocks
    return share * (head + looked_up) + (1 - 2 * share) * blocks


def _width(bits: int, group: int, zeros: bool) -> float:
    return bits + (32 + (bits if zeros else 0)) / group


def _recipe(entry: Mapping[str, Any], untied: bool) -> Recipe:
    exact = entry["family"] == "fp32"
    build = {part: entry[part] for part in ("checkpoint", "builder", "hqq", "mix") if part in entry}
    # Only the builder's own int4 takes the embeddings, where they are tied to the head.
    if not exact and (untied or entry["builder"]["precision"] != "int4"):
        build["compress"] = [_table()["embedding"]]
    return Recipe(
        NAME,
        entry["name"],
        build,
        effort=entry["effort"],
        exact=exact,
        calibrated=_calibrated(build.get("checkpoint", [])),
        why=entry["why"],
        bits=entry["mix"]["bits"] if "mix" in entry else None,
    )


def _calibrated(passes: list[Mapping[str, Any]]) -> bool:
    return any(one["pass"] in _CALIBRATED for one in passes)


@functools.cache
def _table() -> dict[str, Any]:
    text = Path(__file__).with_name("recipes.toml").read_text("utf-8")
    return tomllib.loads(text)


def _rows(model: ModelInfo) -> dict[str, int]:
    """The lengths of the rows that are cut into groups, as far as the files tell."""
    heads = model.heads * model.head_dim if model.heads and model.head_dim else None
    named = {"hidden": model.hidden_size, "intermediate": model.intermediate_size, "attention": heads}
    return {name: size for name, size in named.items() if size}


def _fits(entry: Mapping[str, Any], rows: Mapping[str, int]) -> bool:
    group = entry.get("group", 1)
    return all(size % group == 0 for size in rows.values())


def _named(rows: Mapping[str, int], group: int) -> str:
    return ", ".join(f"{size} ({name})" for name, size in rows.items() if size % group)


def tunable_settings(recipe: Recipe, device: Device, context: int) -> list[TunableSetting]:
    """The settings that may be searched for an artifact: olive_recipes.toml."""
    kind: Kind = "graph" if "graph" in recipe.build else "language"
    return settings_from_table(_table()["tuning"], device, kind, context)


def steps(recipe: Recipe) -> Step:
    """The chain of the recipe's build, as short as it needs to be."""
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
        needed = (*reads, "calibration") if _calibrated(passes) else reads
        inputs = {"checkpoint": Step(f"{_BUILD}:checkpoint", {"passes": passes, **mix}, reads=needed)}
    onnx = Step(f"{_BUILD}:onnx", {**build["builder"], **mix}, inputs, reads)
    if fitted := build.get("hqq"):
        onnx = Step(f"{_BUILD}:hqq", dict(fitted), {"onnx": onnx})
    if passes := build.get("compress"):
        return Step(f"{_BUILD}:compress", {"passes": passes, **mix}, {"onnx": onnx}, reads if mix else ())
    return onnx


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> OliveSession:
    """A session on the CPU (worker side). settings: spinning, arena (both on where they are not named)."""
    from edgehone.backends.olive.session import OliveSession

    return OliveSession(artifact, settings, job.threads)


def operator_times(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, **request: Any
) -> list[OperatorTime]:
    """One request by ONNX Runtime's profiler; a language model runs in ONNX Runtime GenAI's own loop (worker side)."""
    from edgehone.backends.olive.session import OliveSession
    from edgehone.backends.onnxruntime import operators
    from edgehone.backends.shared import onnx_files

    if "feeds" in request:
        made = graph.tuned(artifact) | dict(settings)
        path = onnx_files.find(artifact)
        return operators.of_graph(path, made, job.threads, request["feeds"], job.out)
    session = OliveSession(artifact, {**settings, "profile": str(job.out / "profile")}, job.threads)
    session.generate(request["prompt"], request["generated"])
    session.close()
    # The file appears when the runtime lets its sessions go.
    files = sorted(job.out.glob("profile*.json"))
    if not files:
        raise JobError("ONNX Runtime GenAI wrote no profile")
    first, *later = operators.read(files[0])
    summed = operators.summed
    return [*summed("prefill", [first]), *summed("decode", later)]
