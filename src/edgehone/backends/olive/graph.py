"""Graphs in the olive backend: ONNX files and encoders, taken through Olive's passes, run by ONNX Runtime.

The steps: `prepare` exports an encoder (or copies an ONNX file) and tidies the graph, `apply` takes one pass of Olive
a step, `tune` looks for session settings. What can be built is data: olive_graph_recipes.toml. What the steps do is
in `olive_passes`; the session is that of the onnxruntime backend.
"""

from __future__ import annotations

import functools
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import (
    Recipe,
    Step,
    Support,
)
from edgehone.backends.onnxruntime import backend
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared import onnx_files
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.onnxruntime.session import OrtSession

_BACKEND = "olive"
_PASSES = "edgehone.backends.olive.passes"
_HEADS = {"feature-extraction": "last_hidden_state", "text-classification": "logits"}
# Below it ONNX Runtime's quantizers have no operators to write.
_LEAST_OPSET = 11
_CALIBRATED = "OnnxStaticQuantization"


def supports_graph(model: ModelInfo) -> Support:
    """ONNX files that ONNX Runtime runs, and encoders in Hugging Face layout."""
    if model.format == "huggingface":
        return _supports_encoder(model)
    if refusals := backend.refusals(model):
        return Support(False, tuple(refusals))
    if model.opset is not None and model.opset < _LEAST_OPSET:
        return Support(
            False,
            (
                f"opset {model.opset}: ONNX Runtime's quantizers need {_LEAST_OPSET} or newer: export it again",
            ),
        )
    left_out = sorted(
        e["name"] for e in _table()["recipe"] if e.get("opset", 0) > (model.opset or e.get("opset", 0))
    )
    return Support(True, (f"opset {model.opset} is too old for {', '.join(left_out)}",) if left_out else ())


def _supports_encoder(model: ModelInfo) -> Support:
    refusals = []
    if model.task not in _HEADS:
        refusals.append(
            f"of Hugging Face folders {' and '.join(_HEADS)} are exported as graphs, not '{model.task}'"
        )
    if model.remote_code:
        refusals.append("the model brings code of its own, which is not run")
    elif model.model_type not in _table()["encoders"]:
        proven = ", ".join(_table()["encoders"])
        refusals.append(f"the export of '{model.model_type}' is not proven; proven are {proven}")
    if model.quantized:
        refusals.append(f"quantized already ({model.quantized}): give the unquantized original")
    return Support(not refusals, tuple(refusals))


def graph_recipes(model: ModelInfo) -> list[Recipe]:
    """fp32 first, then what suits the graph's operators and opset, in order of promise."""
    kinds = _kinds(model)
    source = _source(model)
    return [
        _recipe(entry, source)
        for entry in _table()["recipe"]
        if set(entry.get("only", "").split("+")) - {""} <= kinds
        and (model.opset is None or model.opset >= entry.get("opset", 0))
    ]


def _recipe(entry: Mapping[str, Any], source: Mapping[str, Any]) -> Recipe:
    tuned = bool(entry.get("tuned"))
    # What is tried is part of what is built: data files are not in a job's key.
    tuning = {"session": _table()["session"]} if tuned else {}
    return Recipe(
        _BACKEND,
        entry["name"],
        {"graph": True, "source": dict(source), "passes": entry["passes"], **tuning},
        effort=entry["effort"],
        exact=not entry["passes"] and not tuned,
        calibrated=tuned or any(one["type"] == _CALIBRATED for one in entry["passes"]),
        why=entry["why"],
    )


def _kinds(model: ModelInfo) -> set[str]:
    """What a graph is, in the words of the recipes' `only`."""
    operators = {name.rpartition("::")[2] for name in model.operators}
    attends = operators >= {"MatMul", "Softmax"} or operators & {"Attention", "MultiHeadAttention"}
    encoder = model.format == "huggingface"
    found = {"transformer"} if encoder or attends else {"other"}
    found |= {"matmul"} if encoder or "MatMul" in operators else set()
    found |= {"linear"} if encoder or operators & {"MatMul", "Gemm"} else set()
    found |= {"conv"} if "Conv" in operators else set()
    return found


def _source(model: ModelInfo) -> dict[str, Any]:
    """What `prepare` must know of the original."""
    if model.format == "onnx":
        return {"format": "onnx"}
    names = [one.name for one in model.inputs] or ["input_ids", "attention_mask"]
    return {"format": model.format, "task": model.task, "inputs": names, "output": _HEADS[model.task]}


@functools.cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("graph_recipes.toml").read_text("utf-8"))


def graph_steps(recipe: Recipe) -> Step:
    """The tidied graph, then one step a pass, then the session's settings where they are tuned."""
    step = Step(f"{_PASSES}:prepare", dict(recipe.build["source"]), reads=("model",))
    for one in recipe.build["passes"]:
        reads = ("calibration",) if one["type"] == _CALIBRATED else ()
        step = Step(f"{_PASSES}:apply", dict(one), {"graph": step}, reads)
    if "session" in recipe.build:
        params = {"session": recipe.build["session"]}
        step = Step(f"{_PASSES}:tune", params, {"graph": step}, ("calibration",))
    return step


def open_graph(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> OrtSession:
    """A session of ONNX Runtime with `job.threads`, and the settings that `tune` found, if it ran (worker side)."""
    from edgehone.backends.onnxruntime.session import OrtSession

    return OrtSession(onnx_files.find(artifact), tuned(artifact) | dict(settings), job.threads)


def tuned(artifact: Path) -> dict[str, Any]:
    """The settings that `tune` found; none where it did not run."""
    found = artifact / "session.json"
    return dict(json.loads(found.read_text("utf-8"))) if found.is_file() else {}


def open_graph_many(artifact: Path, settings: Mapping[str, Any], job: WorkerJob, clients: int) -> OrtSession:
    """The same: a session of ONNX Runtime takes calls of several threads, which share its own."""
    return open_graph(artifact, settings, job)
