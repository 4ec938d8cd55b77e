"""null: a simulated backend that ships with edgehone, so that everything around backends is tested in milliseconds.

Its model is real: a bigram table over bytes (`make_model` counts one from a text), which the recipes quantize to 8, 4
or 2 bits. Its speed is simulated: a session computes the time of each token from a fixed pace and moves its own clock
on by it, so figures are exactly reproducible. A model's config.json may ask for recipes that fail (`"null_faults":
["crash", "hang", "memory", "nan", "jump"]`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgehone.backends.base import (
    Needs,
    Recipe,
    Step,
    Support,
    TunableSetting,
)
from edgehone.backends.null.session import DEVICE_LAYERS, NullSession, NullTokenizer
from edgehone.backends.null.table import BOS, VOCABULARY, save
from edgehone.backends.sessions import (
    OperatorTime,
    WorkerJob,
)
from edgehone.backends.shared import quantized_weights
from edgehone.backends.shared.tunable_settings import PREFIX_CACHE
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.null.engine import NullEngine
    from edgehone.backends.null.graph import NullGraphSession

NAME = "null"
REFERENCE = True
NEEDS = Needs()

FAULTS = ("crash", "hang", "memory", "nan", "jump")


def supports(model: ModelInfo) -> Support:
    """Support models of type "null" only."""
    if model.model_type == "null" and model.format == "huggingface":
        return Support(True)
    return Support(False, (f"null takes its own fake models only, not '{model.model_type}'",))


def recipes(model: ModelInfo) -> list[Recipe]:
    """Return f32 (exact), q8, q4, q2, q8+text (calibrated) and the failing recipes that config.json asks for."""
    offered = [Recipe(NAME, "f32", {"bits": 32}, {"pace": 16}, effort="quick", exact=True, bits=32)]
    offered += [Recipe(NAME, f"q{bits}", {"bits": bits}, effort="quick", bits=bits) for bits in (8, 4)]
    offered += [
        Recipe(NAME, "q2", {"bits": 2}, bits=2),
        Recipe(NAME, "q8+text", {"bits": 8}, calibrated=True, bits=8),
    ]
    config = json.loads((model.path / "config.json").read_text("utf-8"))
    offered += [
        Recipe(
            NAME,
            fault,
            {"bits": 8, "fault": fault},
            {"wall_clock_jumps": True} if fault == "jump" else {},
            effort="quick",
        )
        for fault in config.get("null_faults", ())
    ]
    return offered


def tunable_settings(recipe: Recipe, device: Device, context: int) -> list[TunableSetting]:
    """Return one setting that speeds it up, one that takes memory, one that fails, and one that is fast but inexact."""
    return [
        TunableSetting("hurry", (0.5, 4), default=1),
        TunableSetting("ballast_mb", (64,), default=0),
        TunableSetting("stumble", (True,), default=False),
        TunableSetting("coarse", (True,), default=False, exact=False),
    ]


def offloadable_layers(recipe: Recipe, model: ModelInfo) -> int:
    """Return the layers of a made-up device."""
    return DEVICE_LAYERS if recipe.device else 0


def serving_settings(recipe: Recipe) -> list[TunableSetting]:
    """Return the settings of an engine: whether it keeps the prefixes of prompts."""
    return [PREFIX_CACHE]


def original(model: ModelInfo) -> Recipe:
    """Return the original, at the pace of 32 bits."""
    return Recipe(NAME, "original", settings={"pace": 32, "ballast_mb": 96})


def reference(model: ModelInfo) -> Recipe:
    """Return the original as the reference for quality."""
    return Recipe(NAME, "reference")


def steps(recipe: Recipe) -> Step:
    """Return `convert` for the original, and `quantize` after it for the others."""
    convert = Step("edgehone.backends.null.backend:convert", reads=("model",))
    if "bits" not in recipe.build:
        return convert
    reads = ("calibration",) if recipe.calibrated else ()
    return Step("edgehone.backends.null.backend:quantize", dict(recipe.build), {"converted": convert}, reads)


def convert(job: WorkerJob) -> dict[str, Any]:
    """Store the table of model.safetensors as table.npy."""
    import numpy as np

    with (job.inputs["model"] / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        begin, end = header["table"]["data_offsets"]
        file.seek(begin, os.SEEK_CUR)
        table = np.frombuffer(file.read(end - begin), np.float32).reshape(VOCABULARY, VOCABULARY)
    save(job.out, table, 32)
    return {"weight_types": {"f32": 1}, **quantized_weights.facts([("table", table.size, False)])}


def quantize(job: WorkerJob) -> dict[str, Any]:
    """Round the table to `bits` bits, row by row, and store it packed."""
    import numpy as np

    _fail(job.args.get("fault"))
    bits = int(job.args["bits"])
    if "calibration" in job.inputs:
        json.loads((job.inputs["calibration"] / "ids.json").read_text("utf-8"))
    job.progress(0.5, "rounding")
    table = np.load(job.inputs["converted"] / "table.npy")
    if job.args.get("fault") == "nan":
        table[:, 0] = np.nan
    save(job.out, table, bits)
    share = quantized_weights.facts([("table", table.size, bits < 32)])
    return {"weight_types": {f"q{bits}" if bits < 32 else "f32": 1}, **share}


def open_tokenizer(model: Path, job: WorkerJob) -> NullTokenizer:
    """Return the tokenizer, the same for every null model."""
    return NullTokenizer(model)


def start_runtime(kind: Literal["language", "graph"], job: WorkerJob) -> None:
    """No-op: there is no framework to load."""


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> NullSession:
    """Open an artifact.

    settings: `pace` (bits), `hurry` (a factor), `coarse`, `prompt_lookup`, `verify` (the steps that a drafted
    token takes), `stumble`, `ballast_mb`, `wall_clock_jumps`, `device` and `gpu_layers`, `room`
    (the layers that fit the device), and those of `null.faults`.
    """
    return NullSession(artifact, settings)


def open_engine(artifact: Path, settings: Mapping[str, Any], job: WorkerJob, places: int) -> NullEngine:
    """Open an artifact for several requests at the same time.

    settings: those of `open_session`, `cache` (the tokens of all requests together) and `prefix_cache`.
    """
    from edgehone.backends.null.engine import NullEngine

    session = NullSession(artifact, settings)
    session.faults.open_engine()
    return NullEngine(
        session.table,
        session.pace,
        places,
        session.faults,
        settings.get("cache"),
        keeps_prefixes=settings.get("prefix_cache", True),
    )


def open_graph(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> NullGraphSession:
    """Open an artifact that `null.graph.make_graph` wrote."""
    from edgehone.backends.null.graph import NullGraphSession

    return NullGraphSession(artifact, settings)


def open_graph_many(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, clients: int
) -> NullGraphSession:
    """Open the same session: it may be called from several threads."""
    return open_graph(artifact, settings, job)


def operator_times(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, **request: Any
) -> list[OperatorTime]:
    """Return the times of one request's look-ups, as this process really took them."""
    session = NullSession(artifact, settings)
    started = time.perf_counter()
    first = session.generate(request["prompt"], 1)
    prefilled = time.perf_counter()
    session.generate(first.ids, request["generated"] - 1)
    return [
        OperatorTime("prefill", "lookup", 1, prefilled - started),
        OperatorTime("decode", "lookup", request["generated"] - 1, time.perf_counter() - prefilled),
    ]


def make_model(folder: Path, text: str, faults: Sequence[str] = ()) -> Path:
    """Write a null model whose table holds the log-probabilities of a text's bigrams, each count raised by 0.01."""
    import numpy as np

    ids = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
    counts = np.full((VOCABULARY, VOCABULARY), 0.01, np.float64)
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    counts[:, BOS] = 1e-6
    table = np.log(counts / counts.sum(1, keepdims=True)).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "null",
        "architectures": ["NullForCausalLM"],
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 4096,
        "num_hidden_layers": 1,
        "null_faults": list(faults),
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    header = json.dumps(
        {"table": {"dtype": "F32", "shape": list(table.shape), "data_offsets": [0, table.nbytes]}}
    ).encode()
    raw = len(header).to_bytes(8, "little") + header + table.tobytes()
    (folder / "model.safetensors").write_bytes(raw)
    return folder


def _fail(fault: str | None) -> None:
    if fault == "crash":
        print("loading\nerror: the null backend was asked to crash", flush=True)  # noqa: T201
        os.abort()
    if fault == "hang":
        time.sleep(3600)
    if fault == "memory":
        hoard = [bytearray(b"x" * (64 << 20)) for _ in range(64)]
        time.sleep(3600)
        hoard.clear()
