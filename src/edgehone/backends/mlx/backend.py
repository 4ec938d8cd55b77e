"""The mlx backend: converts and quantizes with mlx-lm, in MLX's own safetensors layout; runs on Apple GPUs.

Steps: `convert` writes the model in floats; `quantize` reduces the bits, by rounding or by GPTQ on the calibration
text. `recipes.toml` lists what can be built, `architectures.txt` what mlx-lm can load. The steps are in `build` and
`gptq_model`, the session is in `session`.

On Linux MLX runs on the CPU, with kernels that exist for completeness: quality is verified there, but speed figures
would be meaningless.
"""

from __future__ import annotations

import functools
import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgehone.backends.base import Needs, Recipe, Step, Support
from edgehone.backends.mlx import devices as mlx_devices
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared.checkpoints import language_model_refusals
from edgehone.backends.shared.groups import fits, rows, unfit
from edgehone.backends.shared.recipe_table import fitting, read_names
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.mlx.engine import MlxEngine
    from edgehone.backends.mlx.session import MlxSession

devices = mlx_devices.devices

NAME = "mlx"
REFERENCE = False
NEEDS = Needs(
    lock=Path(__file__).with_name("lock.txt"),
    versions=("mlx", "mlx-lm", "transformers"),
)

# See docs/left-out.md.
NO_DWQ = "no DWQ and AWQ: mlx-lm's implementations gained less than GPTQ in more time"

_BUILD = "edgehone.backends.mlx.build"
# Keys of an entry that determine the artifact.
_BUILD_KEYS = ("dtype", "bits", "group", "own", "mixed", "mix", "learned")


@functools.cache
def architectures() -> frozenset[str]:
    """Return the model types that the pinned mlx-lm implements."""
    return read_names(Path(__file__).with_name("architectures.txt"))


def supports(model: ModelInfo) -> Support:
    """Return whether mlx-lm implements the architecture, and which group sizes do not divide its rows."""
    known = model.model_type in architectures()
    unknown = None if known else f"mlx-lm does not implement the model type '{model.model_type}'"
    refusals = language_model_refusals(model, "mlx-lm converts", unknown)
    if refusals:
        return Support(False, tuple(refusals))
    sizes = rows(model)
    excluded = sorted({group for entry in _table() if not fits(group := entry.get("group", 0), sizes)})
    notes = [f"groups of {group}: do not divide rows of {unfit(group, sizes)}" for group in excluded]
    return Support(True, (*notes, NO_DWQ))


def measurement_obstacle(device: Device) -> str | None:
    """Return why speed, memory and energy of MLX mean nothing on a machine; None on Apple silicon."""
    if device.os.startswith("macOS") and device.architecture == "arm64":
        return None
    return (
        "MLX is made for Apple silicon: speed, memory and energy on this machine do not predict those on an Apple "
        "device; to choose among mlx candidates, run edgehone on the Apple device"
    )


def recipes(model: ModelInfo) -> list[Recipe]:
    """Return the floats, then 8 to 2 bits, most promising first, except those whose group does not divide the rows."""
    lengths = rows(model)
    # The sensitivity of experts is not measured, so mixed precision is not offered for them.
    entries = [entry for entry in _table() if not ("mix" in entry and model.experts)]
    return [
        replace(_recipe(entry), effort=effort)
        for entry, effort in fitting(entries, lambda entry: fits(entry.get("group", 0), lengths))
    ]


def _recipe(entry: Mapping[str, Any]) -> Recipe:
    return Recipe(
        NAME,
        entry["name"],
        {name: entry[name] for name in _BUILD_KEYS if name in entry},
        {"compute": entry["compute"]} if "compute" in entry else {},
        effort=entry["effort"],
        exact=entry.get("exact", False),
        calibrated="learned" in entry,
        why=entry["why"],
        bits=_bits(entry),
    )


def _bits(entry: Mapping[str, Any]) -> float | None:
    """Return bits per weight, with a 16-bit scale and bias per group.

    Returns None for mlx-lm's mixed predicates, whose bits are known only after the build.
    """
    if "mix" in entry:
        return float(entry["mix"]["bits"])
    return entry["bits"] + 32 / entry["group"] if "bits" in entry else None


@functools.cache
def _table(name: str = "recipe") -> list[dict[str, Any]]:
    text = Path(__file__).with_name("recipes.toml").read_text("utf-8")
    entries: list[dict[str, Any]] = tomllib.loads(text)[name]
    return entries


def steps(recipe: Recipe) -> Step:
    """Return the steps: convert in the stored dtype, and quantize from that unless the recipe is exact."""
    floats = Step(f"{_BUILD}:convert", {"dtype": "stored"}, reads=("model",))
    if recipe.exact:
        return floats
    params = dict(recipe.build)
    reads: tuple[str, ...] = ("calibration",) if recipe.calibrated else ()
    if "mix" in params:
        params["mix"] = {**params["mix"], "menu": _table("precision")}
        reads = ("calibration", "sensitivity")
    return Step(f"{_BUILD}:quantize", params, {"floats": floats}, reads)


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> MlxSession:
    """Open a session on the GPU of an Apple device, else on the CPU (worker side).

    settings: compute ("float32": dtype of activations and unquantized weights; default: as stored), kernels
    ("native": use MLX's quantized kernels on the CPU too; default: multiply the same weights as floats there).
    """
    from edgehone.backends.mlx.session import MlxSession

    return MlxSession(artifact, settings)


def open_engine(artifact: Path, settings: Mapping[str, Any], job: WorkerJob, places: int) -> MlxEngine:
    """Open mlx-lm's continuous batching with the settings of a session (worker side)."""
    from edgehone.backends.mlx.engine import MlxEngine
    from edgehone.backends.shared.kv_budget import context_of

    return MlxEngine(artifact, settings, places, context_of(job.args.get("context"), places))


def start_runtime(kind: Literal["language", "graph"], job: WorkerJob) -> None:
    """Load MLX and mlx-lm and run one operator (worker side)."""
    import mlx.core as mx

    importlib.import_module("mlx_lm.utils")
    mx.eval(mx.ones((64, 64)) @ mx.ones((64, 64)))
