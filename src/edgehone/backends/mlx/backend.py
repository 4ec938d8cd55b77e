"""mlx: safetensors in MLX's own layout by mlx-lm, quantized in groups, run by MLX on Apple's GPUs.

The steps: `convert` writes the model in floats, `quantize` takes that to fewer bits, plainly or fitted to the
calibration text. What can be built is data: mlx_recipes.toml; what mlx-lm can load: mlx_architectures.txt. The
builders are in `mlx_build` and `mlx_learned`, the session is in `mlx_session`.

On Linux MLX runs on the CPU, by kernels that are there for completeness: quality is proven there, speed says nothing.
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
)
from edgehone.backends.mlx import devices as mlx_devices
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared.groups import fits, rows, unfit
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.mlx.session import MlxSession

devices = mlx_devices.devices

NAME = "mlx"
REFERENCE = False
NEEDS = Needs(
    lock=Path(__file__).with_name("lock.txt"),
    versions=("mlx", "mlx-lm", "transformers"),
)

# docs/left-out.md tells more.
NO_DWQ = "learned quantization is GPTQ: mlx-lm's DWQ and AWQ gained less in more time"

_HERE = "edgehone.backends.mlx.build"
# What of an entry determines the artifact.
_BUILD = ("dtype", "bits", "group", "own", "mixed", "mix", "learned")


@functools.cache
def architectures() -> frozenset[str]:
    """The model types that the pinned mlx-lm carries."""
    text = Path(__file__).with_name("architectures.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def supports(model: ModelInfo) -> Support:
    """Whether mlx-lm carries the architecture, and which group sizes its rows leave out."""
    refusals = []
    if model.format != "huggingface":
        refusals.append(f"mlx-lm converts Hugging Face folders, not '{model.format}'")
    if model.task not in ("text-generation", "unknown"):
        refusals.append(f"only text generation can be scored, not '{model.task}'")
    if model.remote_code:
        refusals.append("the model brings code of its own, which is not run")
    elif model.model_type not in architectures():
        refusals.append(f"mlx-lm has no model of type '{model.model_type}'")
    if model.quantized:
        refusals.append(f"quantized already ({model.quantized}): give the unquantized original")
    if refusals:
        return Support(False, tuple(refusals))
    sizes = rows(model)
    without = sorted({group for entry in _table() if not fits(group := entry.get("group", 0), sizes)})
    notes = [f"groups of {group}: do not divide rows of {unfit(group, sizes)}" for group in without]
    return Support(True, (*notes, NO_DWQ))


def measurement_obstacle(device: Device) -> str | None:
    """Why MLX's speed, memory and energy say nothing on a machine; None on Apple silicon."""
    if device.os.startswith("macOS") and device.architecture == "arm64":
        return None
    return (
        "MLX is made for Apple silicon, its speed, memory and energy here would say nothing of those there; "
        "to choose among mlx candidates, run edgehone on the Apple device"
    )


def recipes(model: ModelInfo) -> list[Recipe]:
    """The floats, then 8 to 2 bits in order of promise, without those whose group does not divide the rows."""
    sizes = rows(model)
    made: list[Recipe] = []
    owed: dict[str, str] = {}  # family -> effort of its entries that do not fit
    for entry in _table():
        effort, family = entry["effort"], entry["family"]
        if "mix" in entry and model.experts:  # experts are not measured
            continue
        if model.model_type not in entry.get("only", (model.model_type,)):
            continue
        if not fits(entry.get("group", 0), sizes):
            owed[family] = min(effort, owed.get(family, effort), key=EFFORTS.index)
            continue
        effort = min(effort, owed.pop(family, effort), key=EFFORTS.index)
        made.append(replace(_recipe(entry), effort=effort))
    return made


def _recipe(entry: Mapping[str, Any]) -> Recipe:
    return Recipe(
        NAME,
        entry["name"],
        {name: entry[name] for name in _BUILD if name in entry},
        {"compute": entry["compute"]} if "compute" in entry else {},
        effort=entry["effort"],
        exact=entry.get("exact", False),
        calibrated="learned" in entry,
        why=entry["why"],
        # A scale and a bias of 16 bits for each group; what is mixed has bits that only a build tells.
        bits=_bits(entry),
    )


def _bits(entry: Mapping[str, Any]) -> float | None:
    if "mix" in entry:
        return float(entry["mix"]["bits"])
    return entry["bits"] + 32 / entry["group"] if "bits" in entry else None


@functools.cache
def _table(name: str = "recipe") -> list[dict[str, Any]]:
    text = Path(__file__).with_name("recipes.toml").read_text("utf-8")
    entries: list[dict[str, Any]] = tomllib.loads(text)[name]
    return entries


def steps(recipe: Recipe) -> Step:
    """The model in its stored dtype, and from it all others."""
    floats = Step(f"{_HERE}:convert", {"dtype": "stored"}, reads=("model",))
    if recipe.exact:
        return floats
    params = dict(recipe.build)
    reads: tuple[str, ...] = ("calibration",) if recipe.calibrated else ()
    if "mix" in params:
        params["mix"] = {**params["mix"], "menu": _table("precision")}
        reads = ("calibration", "sensitivity")
    return Step(f"{_HERE}:quantize", params, {"floats": floats}, reads)


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> MlxSession:
    """A session on the GPU of an Apple device, else on the CPU (worker side).

    settings: compute ("float32": activations and unquantized weights in that; else as they are stored), kernels
    ("native": MLX's own quantized ones on the CPU as well; else there the same weights as floats).
    """
    from edgehone.backends.mlx.session import MlxSession

    return MlxSession(artifact, settings)
