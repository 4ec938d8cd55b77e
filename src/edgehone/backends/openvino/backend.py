"""The openvino backend: optimum-intel exports to IR, NNCF compresses weights, OpenVINO and OpenVINO GenAI run.

Artifacts run on the CPU or another device that OpenVINO detects. `recipes.toml` lists what can be built,
`architectures.txt` which language models can be exported. The build steps are in `build`, the session is in
`session`. Graphs have their own modules: `graph`, `graph_quantize`, `graph_session`.
"""

from __future__ import annotations

import functools
import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgehone.backends.base import Needs, Recipe, Step, Support, TunableSetting
from edgehone.backends.openvino import devices as openvino_devices
from edgehone.backends.openvino import encoder_decoder, graph, operators, placement, routers, vision
from edgehone.backends.openvino.build import CALIBRATED_OPTIONS
from edgehone.backends.openvino.devices import SIXTEEN_BIT
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared.groups import fits, rows, unfit
from edgehone.backends.shared.recipe_table import fitting, read_names
from edgehone.backends.shared.tunable_settings import PREFIX_CACHE, Kind, settings_from_table
from edgehone.core.errors import JobError
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.openvino.engine import OpenVinoEngine
    from edgehone.backends.openvino.graph_session import OpenVinoGraphSession
    from edgehone.backends.openvino.routers import RoutingSession
    from edgehone.backends.openvino.session import OpenVinoSession
    from edgehone.backends.shared.encoder_decoder import EncoderDecoderSession

devices = openvino_devices.devices
device_recipes = placement.device_recipes
operator_times = operators.operator_times

NAME = "openvino"
REFERENCE = False
NEEDS = Needs(
    lock=Path(__file__).with_name("lock.txt"),
    versions=("openvino", "openvino-genai", "nncf", "optimum-intel", "transformers", "torch"),
    runtime={
        "language": (
            "jinja2",
            "markupsafe",
            "numpy",
            "openvino",
            "openvino-genai",
            "openvino-tokenizers",
            "tokenizers",
        ),
        "pictures": (
            "jinja2",
            "markupsafe",
            "numpy",
            "openvino",
            "openvino-genai",
            "openvino-tokenizers",
            "pillow",
            "tokenizers",
        ),
        "graph": ("numpy", "openvino", "tokenizers"),
    },
    engine={"language": ("openvino_genai", "tokenizers"), "graph": ("numpy", "openvino")},
)

_BUILD = "edgehone.backends.openvino.build"


@functools.cache
def architectures() -> frozenset[str]:
    """Return the model types that the pinned optimum-intel exports with a KV cache."""
    return read_names(Path(__file__).with_name("architectures.txt"))


def supports(model: ModelInfo) -> Support:
    """Return whether optimum-intel exports the architecture, and which group sizes do not divide its rows."""
    if model.kind == "graph":
        return graph.supports(model)
    refusals = []
    if model.format != "huggingface":
        refusals.append(f"optimum-intel exports Hugging Face folders, not '{model.format}'")
    if model.task == "image-text-to-text":
        refusals += vision.refusals(model)
    elif model.kind != "language":
        refusals.append(f"only text generation can be scored, not '{model.task}'")
    if model.remote_code:
        refusals.append("the model needs custom code, which is never run")
    elif model.task != "image-text-to-text" and model.model_type not in architectures():
        refusals.append(f"optimum-intel does not export '{model.model_type}' with a KV cache")
    if model.quantized:
        refusals.append(f"already quantized ({model.quantized}): give the unquantized original")
    if refusals:
        return Support(False, tuple(refusals))
    lengths = rows(model)
    excluded = sorted({group for entry in _table() if not fits(group := entry.get("group", 0), lengths)})
    notes = [f"int4 in groups of {g}: does not divide rows of {unfit(g, lengths)}" for g in excluded]
    return Support(True, tuple(notes))


def recipes(model: ModelInfo) -> list[Recipe]:
    """Return fp16, then int8 and int4, most promising first, except those whose group does not divide the rows."""
    if model.kind == "graph":
        return graph.recipes(model)
    lengths = rows(model)
    entries = [entry for entry in _table() if _applies(entry, model)]
    fitted = [
        replace(_recipe(entry), effort=effort)
        for entry, effort in fitting(entries, lambda entry: fits(entry.get("group", 0), lengths))
    ]
    if model.task == "image-text-to-text":
        return vision.variants(fitted)
    return fitted + (routers.variants(fitted) if model.experts else [])


def _applies(entry: Mapping[str, Any], model: ModelInfo) -> bool:
    if "mix" in entry and model.task == "image-text-to-text":
        return False  # no sensitivity is measured for vision-language models
    return not (
        entry.get("gptq") and model.experts
    )  # NNCF's GPTQ does not take experts' weights, which have rank 3


def _recipe(entry: Mapping[str, Any]) -> Recipe:
    settings = {"kv_cache": entry.get("kv", "u8")}
    if "precision" in entry:
        settings["inference_precision"] = entry["precision"]
    build = {name: entry[name] for name in ("mode", "mix") if name in entry}
    if "group" in entry and "mode" in entry:
        build |= {"group_size": entry["group"], "ratio": entry.get("ratio", 1.0)}
    calibrated = {name: True for name in CALIBRATED_OPTIONS if entry.get(name)}
    return Recipe(
        NAME,
        entry["name"],
        build | calibrated,
        settings,
        effort=entry["effort"],
        exact=entry.get("mode") == "fp16",
        calibrated=bool(calibrated),
        why=entry["why"],
        bits=_bits(entry),
        processors=SIXTEEN_BIT if entry.get("only_16_bit") else (),
    )


def _bits(entry: Mapping[str, Any]) -> float:
    """Return bits per weight: a 16-bit scale per row or group, and a zero point as wide as a weight."""
    if "mix" in entry:
        return float(entry["mix"]["bits"])
    if entry["mode"] == "fp16":
        return 16.0
    if "group" not in entry:
        return 8.0
    few: float = (3 if "int3" in entry["mode"] else 4) + (20 if "asym" in entry["mode"] else 16) / entry[
        "group"
    ]
    ratio = float(entry.get("ratio", 1.0))
    return ratio * few + (1 - ratio) * 8


@functools.cache
def _table(name: str = "recipe") -> list[dict[str, Any]]:
    text = Path(__file__).with_name("recipes.toml").read_text("utf-8")
    entries: list[dict[str, Any]] = tomllib.loads(text)[name]
    return entries


def tunable_settings(recipe: Recipe, device: Device, context: int) -> list[TunableSetting]:
    """Return the runtime settings that may be searched for an artifact, from `recipes.toml`."""
    kind: Kind = "graph" if "graph" in recipe.build else "vision" if "vision" in recipe.build else "language"
    return settings_from_table(_table("tuning"), device, kind, context)


def serving_settings(recipe: Recipe) -> list[TunableSetting]:
    """Return the settings of an engine: whether it keeps the prefixes of prompts."""
    return [PREFIX_CACHE]


def steps(recipe: Recipe) -> Step:
    """Return the steps: export to FP16, compress if the recipe does, place on its device if it names one."""
    return placement.placed(recipe, _build_steps(recipe))


def _build_steps(recipe: Recipe) -> Step:
    if "graph" in recipe.build:
        return graph.steps(recipe)
    if "vision" in recipe.build:
        return vision.steps(recipe)
    export = Step(f"{_BUILD}:export", reads=("model",))
    if recipe.exact:
        return export
    params = dict(recipe.build)
    reads: tuple[str, ...] = ("calibration",) if recipe.calibrated else ()
    if "mix" in params:
        params["mix"] = {**params["mix"], "menu": _table("precision")}
        reads = ("calibration", "sensitivity")
    return Step(f"{_BUILD}:compress", params, {"fp16": export}, reads)


def open_session(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob
) -> OpenVinoSession | vision.OpenVinoVision:
    """Open a session of a language model (worker side).

    settings: device (default: the CPU), kv_cache ("u8" or "f16"; always set on the CPU), and those of
    `session.COMMON`. Settings that are not given are left to the device.
    """
    from edgehone.backends.openvino.session import OpenVinoSession

    if (artifact / vision.LANGUAGE).is_file():
        return open_vision(artifact, settings, job)
    return OpenVinoSession(artifact, settings, job.threads)


def open_vision(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> vision.OpenVinoVision:
    """Open a session of a vision-language model (worker side)."""
    from edgehone.backends.openvino.session import properties, vocabulary

    return vision.OpenVinoVision(artifact, properties(settings, job.threads), vocabulary(artifact))


def open_graph(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob
) -> OpenVinoGraphSession | EncoderDecoderSession:
    """Open a session of a graph, or of an encoder-decoder in two parts (worker side).

    settings: device (default: the CPU), static (compile separately for each input shape), and those of
    `session.COMMON`.
    """
    from edgehone.backends.openvino.graph_session import OpenVinoGraphSession, OpenVinoStaticSession

    if (artifact / encoder_decoder.ENCODER).is_file():
        return encoder_decoder.open_session(artifact, settings, job.threads)
    session = OpenVinoStaticSession if settings.get("static") else OpenVinoGraphSession
    return session(artifact, settings, job.threads)


def open_engine(artifact: Path, settings: Mapping[str, Any], job: WorkerJob, places: int) -> OpenVinoEngine:
    """Open a language model for several requests at the same time, batched by OpenVINO GenAI (worker side)."""
    from edgehone.backends.openvino.engine import OpenVinoEngine
    from edgehone.backends.shared.kv_budget import cache_of

    cache = cache_of(job.args.get("context"), places)
    return OpenVinoEngine(artifact, settings, job.threads, places, cache)


def start_runtime(kind: Literal["language", "graph"], job: WorkerJob) -> None:
    """Compile and run a graph of one node on the CPU, and load OpenVINO GenAI for language models (worker side)."""
    import numpy as np
    import openvino as ov

    parameter = ov.opset13.parameter([1], np.float32)
    graph = ov.Model([ov.opset13.relu(parameter)], [parameter])
    ov.Core().compile_model(graph, "CPU").create_infer_request().infer({0: np.zeros(1, np.float32)})
    if kind == "language":
        importlib.import_module("openvino_genai")


def open_graph_many(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, clients: int
) -> OpenVinoGraphSession:
    """Open a session that `clients` threads may call at once; each call uses its own inference request."""
    from edgehone.backends.openvino.graph_session import OpenVinoGraphPool

    if (artifact / encoder_decoder.ENCODER).is_file():
        raise JobError("an encoder-decoder serves one client at a time", hint="give a workload of one client")
    if settings.get("static"):
        raise JobError(
            f"a graph with fixed shapes on {settings.get('device')} can serve only one client at a time"
        )
    return OpenVinoGraphPool(artifact, settings, job.threads, clients)


def open_routing(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> RoutingSession:
    """Open a session that also reports which experts the routers choose (worker side)."""
    return routers.RoutingSession(artifact, settings, job.threads)
