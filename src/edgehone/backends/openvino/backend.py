"""openvino: IR by optimum-intel, weights compressed by NNCF, run by OpenVINO and OpenVINO GenAI, on the CPU or
another device that they see.

The steps: `export` writes a stateful FP16 IR with its tokenizer, `compress` takes that to 8 or 4 bits. What
can be built is data: openvino_recipes.toml; what can be exported too: openvino_architectures.txt. The session
is in `openvino_session`.
"""

from __future__ import annotations

import functools
import json
import logging
import shutil
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
from edgehone.backends.openvino import devices as openvino_devices
from edgehone.backends.openvino import graph, ir, mixture, operators, placement, vision
from edgehone.backends.openvino import mix as openvino_mix
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared.calibration import LENGTH, windows
from edgehone.backends.shared.tunable_settings import Kind, settings_from_table
from edgehone.core.errors import JobError
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.openvino.graph_session import OpenVinoGraphSession
    from edgehone.backends.openvino.mixture import RoutingSession
    from edgehone.backends.openvino.session import OpenVinoSession

devices = openvino_devices.devices
device_recipes = placement.device_recipes
operator_times = operators.operator_times

NAME = "openvino"
REFERENCE = False
NEEDS = Needs(
    lock=Path(__file__).with_name("lock.txt"),
    versions=("openvino", "openvino-genai", "nncf", "optimum-intel", "transformers", "torch"),
)

TOKENIZERS = ("openvino_tokenizer.xml", "openvino_detokenizer.xml")

# What nncf.compress_weights does with calibration samples.
_TUNINGS = ("awq", "scale_estimation", "gptq", "lora_correction")

# optimum-intel says that it exports these with an older transformers only. With the pinned one small models of each
# were exported and scored: their KL divergence from the original was below 5e-5. The null test judges each again.
_PROVEN_BEYOND = ("exaone4", "gemma", "gemma2", "gemma3_text", "glm")

_HERE = "edgehone.backends.openvino.backend"


@functools.cache
def architectures() -> frozenset[str]:
    """The model types that the pinned optimum-intel exports with a KV cache."""
    text = Path(__file__).with_name("architectures.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def supports(model: ModelInfo) -> Support:
    """Whether optimum-intel exports the architecture, and which group sizes its rows leave out."""
    if model.kind == "graph":
        return graph.supports(model)
    refusals = []
    if model.format != "huggingface":
        refusals.append(f"optimum-intel exports Hugging Face folders, not '{model.format}'")
    if model.task == "image-text-to-text":
        refusals += vision.why_not(model)
    elif model.kind != "language":
        refusals.append(f"only text generation can be scored, not '{model.task}'")
    if model.remote_code:
        refusals.append("the model brings code of its own, which is not run")
    elif model.task != "image-text-to-text" and model.model_type not in architectures():
        refusals.append(f"optimum-intel does not export '{model.model_type}' with a KV cache")
    if model.quantized:
        refusals.append(f"quantized already ({model.quantized}): give the unquantized original")
    if refusals:
        return Support(False, tuple(refusals))
    rows = _rows(model)
    unfit = sorted({g for g in (e.get("group", 0) for e in _table()) if not _fits(g, rows)})
    notes = [f"int4 in groups of {g}: does not divide rows of {_named(rows, g)}" for g in unfit]
    return Support(True, tuple(notes))


def recipes(model: ModelInfo) -> list[Recipe]:
    """fp16, then int8 and int4 in order of promise, without those whose group does not divide the rows."""
    if model.kind == "graph":
        return graph.recipes(model)
    rows = _rows(model)
    made: list[Recipe] = []
    owed: dict[str, str] = {}  # family -> effort of its entries that do not fit
    for entry in _table():
        effort, family = entry["effort"], entry["family"]
        if "mix" in entry and model.task == "image-text-to-text":  # what sees is not measured
            continue
        if entry.get("gptq") and model.experts:  # NNCF has no GPTQ for experts' weights, which are of rank 3
            continue
        if not _fits(entry.get("group", 0), rows):
            owed[family] = min(effort, owed.get(family, effort), key=EFFORTS.index)
            continue
        effort = min(effort, owed.pop(family, effort), key=EFFORTS.index)
        made.append(replace(_recipe(entry), effort=effort))
    if model.task == "image-text-to-text":
        return vision.variants(made)
    return made + (mixture.variants(made) if model.experts else [])


def _recipe(entry: Mapping[str, Any]) -> Recipe:
    settings = {"kv_cache": entry.get("kv", "u8")}
    if "precision" in entry:
        settings["inference_precision"] = entry["precision"]
    build = {name: entry[name] for name in ("mode", "mix") if name in entry}
    if "group" in entry and "mode" in entry:
        build |= {"group_size": entry["group"], "ratio": entry.get("ratio", 1.0)}
    tuned = {name: True for name in _TUNINGS if entry.get(name)}
    return Recipe(
        NAME,
        entry["name"],
        build | tuned,
        settings,
        effort=entry["effort"],
        exact=entry.get("mode") == "fp16",
        calibrated=bool(tuned),
        why=entry["why"],
        bits=_bits(entry),
    )


def _bits(entry: Mapping[str, Any]) -> float:
    """Bits a weight: a scale of 16 bits for each row or group, and a zero point of the weights' own width."""
    if "mix" in entry:
        return float(entry["mix"]["bits"])
    if entry["mode"] == "fp16":
        return 16.0
    if "group" not in entry:
        return 8.0
    coarse: float = 4 + (20 if "asym" in entry["mode"] else 16) / entry["group"]
    ratio = float(entry.get("ratio", 1.0))
    return ratio * coarse + (1 - ratio) * 8


@functools.cache
def _table(name: str = "recipe") -> list[dict[str, Any]]:
    text = Path(__file__).with_name("recipes.toml").read_text("utf-8")
    entries: list[dict[str, Any]] = tomllib.loads(text)[name]
    return entries


def _rows(model: ModelInfo) -> dict[str, int]:
    """The lengths of the rows that are cut into groups, as far as the files tell."""
    heads = model.heads * model.head_dim if model.heads and model.head_dim else None
    named = {"hidden": model.hidden_size, "intermediate": model.intermediate_size, "attention": heads}
    return {name: size for name, size in named.items() if size}


def _fits(group: int, rows: Mapping[str, int]) -> bool:
    return not group or all(size % group == 0 for size in rows.values())


def _named(rows: Mapping[str, int], group: int) -> str:
    return ", ".join(f"{size} ({name})" for name, size in rows.items() if size % group)


def tunable_settings(recipe: Recipe, device: Device, context: int) -> list[TunableSetting]:
    """The settings that may be searched for an artifact: openvino_recipes.toml."""
    kind: Kind = "graph" if "graph" in recipe.build else "vision" if "vision" in recipe.build else "language"
    return settings_from_table(_table("tuning"), device, kind, context)


def steps(recipe: Recipe) -> Step:
    """The FP16 IR, and from it the compressed one; placed on another device where the recipe names one."""
    return placement.placed(recipe, _built(recipe))


def _built(recipe: Recipe) -> Step:
    if "graph" in recipe.build:
        return graph.steps(recipe)
    if "vision" in recipe.build:
        return vision.steps(recipe)
    export = Step(f"{_HERE}:export", reads=("model",))
    if recipe.exact:
        return export
    params = dict(recipe.build)
    reads: tuple[str, ...] = ("calibration",) if recipe.calibrated else ()
    if "mix" in params:
        params["mix"] = {**params["mix"], "menu": _table("precision")}
        reads = ("calibration", "sensitivity")
    return Step(f"{_HERE}:compress", params, {"fp16": export}, reads)


def export(job: WorkerJob) -> dict[str, Any]:
    """A stateful FP16 IR with tokenizer and detokenizer (worker side).

    Raises JobError when the tokenizer cannot be converted; the export's own exceptions pass.
    """
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig

    _lift_version_limits()
    job.progress(0.1, "exporting to IR")
    main_export(
        str(job.inputs["model"]),
        str(job.out),
        task="text-generation-with-past",
        library_name="transformers",
        local_files_only=True,
        trust_remote_code=False,
        convert_tokenizer=True,
        ov_config=OVConfig(dtype="fp16"),
    )
    lacking = [name for name in TOKENIZERS if not (job.out / name).is_file()]
    if lacking:
        raise JobError(
            f"openvino_tokenizers cannot convert this tokenizer: {' and '.join(lacking)} not written",
            hint="try the other backends: --backends llamacpp",
        )
    ir.compact(job.out / ir.MODEL)
    return ir.facts(job.out)


def _lift_version_limits() -> None:
    from optimum.exporters.tasks import TasksManager

    for name in _PROVEN_BEYOND:
        config = TasksManager._SUPPORTED_MODEL_TYPE[name]["openvino"]["text-generation-with-past"]
        config.func.MAX_TRANSFORMERS_VERSION = None


def compress(job: WorkerJob) -> dict[str, Any]:
    """8 or 4-bit weights by nncf.compress_weights (worker side).

    args: mode, or mix (a type for each matrix by inputs["sensitivity"]), and for 4 bits group_size, ratio, router
    (those of a mixture of experts stay in 16 bits) and the tunings: awq, scale_estimation, gptq, lora_correction (the
    last two not together). inputs: fp16, and calibration for the tunings. Returns `weight_types` (weight tensors by
    type, read back from the saved IR), `bytes`, of a mixture of experts `experts` (the types of both parts apart), and
    of a mix `mix`: what was assigned, and where the IR differs.
    """
    import nncf
    import openvino as ov

    source = job.inputs["fp16"]
    model = ov.Core().read_model(source / ir.MODEL)
    options: dict[str, Any] = {}
    if "mode" in job.args:
        options["mode"] = nncf.CompressWeightsMode(job.args["mode"])
    for name in ("group_size", "ratio", *_TUNINGS):
        if name in job.args:
            options[name] = job.args[name]
    if "router" in job.args:
        options["ignored_scope"] = nncf.IgnoredScope(names=mixture.routers(model))
    if "calibration" in job.inputs:
        samples = _samples(job, model, _context(source))
        options |= {"dataset": nncf.Dataset(samples), "subset_size": len(samples)}
    job.progress(0.2, "compressing weights")
    logging.getLogger("nncf").setLevel(logging.WARNING)
    mix = openvino_mix.assigned(job, source) if "mix" in job.args else None
    compressed = (
        openvino_mix.compress(model, mix, options) if mix else nncf.compress_weights(model, **options)
    )
    job.progress(0.9, "saving")
    ir.save(compressed, job.out)
    for path in source.iterdir():
        if path.is_file() and path.stem != Path(ir.MODEL).stem:
            shutil.copyfile(path, job.out / path.name)
    return {**ir.facts(job.out), **(openvino_mix.facts(mix, job.out) if mix else {})}


def _samples(job: WorkerJob, model: Any, context: int) -> list[dict[str, Any]]:
    """Windows of the calibration ids, spread over all of them, as inputs of the stateful model."""
    return [_inputs(model, ids) for ids in windows(job.inputs["calibration"], context)]


def _inputs(model: Any, ids: list[int]) -> dict[str, Any]:
    import numpy as np

    made = {
        "input_ids": np.array([ids], np.int64),
        "attention_mask": np.ones((1, len(ids)), np.int64),
        "position_ids": np.arange(len(ids), dtype=np.int64)[None],
        "beam_idx": np.zeros(1, np.int32),
    }
    return {port.get_any_name(): made[port.get_any_name()] for port in model.inputs}


def _context(folder: Path) -> int:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return int(config.get("max_position_embeddings") or LENGTH)


def open_session(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob
) -> OpenVinoSession | vision.OpenVinoVision:
    """A session (worker side).

    settings: device (else the CPU), kv_cache ("u8" or "f16", always set on the CPU), and those of
    `openvino_session.COMMON`; what is not set is left to the device.
    """
    from edgehone.backends.openvino.session import OpenVinoSession

    if (artifact / vision.LANGUAGE).is_file():
        return open_vision(artifact, settings, job)
    return OpenVinoSession(artifact, settings, job.threads)


def open_vision(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> vision.OpenVinoVision:
    """The same of a multi-modal model, shown pictures."""
    from edgehone.backends.openvino.session import properties, vocabulary

    made = properties(settings, job.threads)
    return vision.OpenVinoVision(artifact, made, vocabulary(artifact))


def open_graph(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> OpenVinoGraphSession:
    """A session of a graph (worker side).

    settings: device (else the CPU), static (compile for each shape that is fed), and those of
    `openvino_session.COMMON`.
    """
    from edgehone.backends.openvino.graph_session import OpenVinoGraphSession, OpenVinoStaticSession

    kind = OpenVinoStaticSession if settings.get("static") else OpenVinoGraphSession
    return kind(artifact, settings, job.threads)


def open_graph_many(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, clients: int
) -> OpenVinoGraphSession:
    """The same for so many threads at once, each with a request of its own."""
    from edgehone.backends.openvino.graph_session import OpenVinoGraphPool

    if settings.get("static"):
        raise JobError(
            f"a graph of fixed shapes on {settings.get('device')} is run for one client at a time only"
        )
    return OpenVinoGraphPool(artifact, settings, job.threads, clients)


def open_routing(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> RoutingSession:
    """The same, telling which experts the graph's routers choose."""
    return mixture.RoutingSession(artifact, settings, job.threads)
