"""Graphs in the olive backend: ONNX files, exported programs and encoders, processed by Olive's passes.

Steps: `prepare` exports an encoder or a program of torch.export to ONNX (or copies an ONNX file) and cleans up the
graph, `lift` raises its opset where a pass needs that, `apply` runs one of Olive's passes per step, `tune` searches
session settings. `graph_recipes.toml` lists what can be built. The steps are in `graph_build`; the session is that of
the onnxruntime backend.
"""

from __future__ import annotations

import functools
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe, Step, Support
from edgehone.backends.olive import encoder_decoder
from edgehone.backends.onnxruntime import backend
from edgehone.backends.pytorch import graph as pytorch_graph
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared import encoder_decoder_support, onnx_files
from edgehone.backends.shared.encoder_decoder import EncoderDecoderSession
from edgehone.backends.shared.graph_kinds import is_transformer
from edgehone.core.errors import JobError
from edgehone.model.encoder_decoder import TASKS
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.onnxruntime.session import OrtSession

_BACKEND = "olive"
_BUILD = "edgehone.backends.olive.graph_build"
_LIFT = "edgehone.backends.olive.lift_opset"
_HEADS = {"feature-extraction": "last_hidden_state", "text-classification": "logits"}
# Older opsets lack the operators that ONNX Runtime's quantizers write: graphs are lifted to it for them.
_QUANTIZERS_OPSET = 11
_CALIBRATED_PASS = "OnnxStaticQuantization"
# Operators of ONNX, and those of PyTorch that become them.
_MATMUL = {"MatMul", "matmul", "mm", "bmm"}
_GEMM = {"Gemm", "linear", "addmm"}
_CONV = {"Conv", "conv1d", "conv2d", "conv3d", "convolution"}


def supports_graph(model: ModelInfo) -> Support:
    """Return whether ONNX Runtime runs the ONNX file, or the encoder or exported program can be exported to ONNX."""
    if model.task in TASKS:
        refused = encoder_decoder_support.refusals(model)
        return Support(not refused, tuple(refused))
    if model.format == "huggingface":
        return _supports_encoder(model)
    if model.format == "torch-export":
        return _supports_program(model)
    if refusals := backend.refusals(model):
        return Support(False, tuple(refusals))
    return Support(True)


def _supports_encoder(model: ModelInfo) -> Support:
    refusals = []
    if model.task not in _HEADS:
        refusals.append(
            f"Hugging Face folders are exported as graphs for {' and '.join(_HEADS)} only, not '{model.task}'"
        )
    if model.remote_code:
        refusals.append("the model needs custom code, which is never run")
    elif model.model_type not in _table()["encoders"]:
        verified = ", ".join(_table()["encoders"])
        refusals.append(f"the export of '{model.model_type}' has not been verified; verified are {verified}")
    if model.quantized:
        refusals.append(f"already quantized ({model.quantized}): give the unquantized original")
    return Support(not refusals, tuple(refusals))


def _supports_program(model: ModelInfo) -> Support:
    refusals = pytorch_graph.refusals(model)
    if model.quantized:
        refusals.append(f"already quantized ({model.quantized}): give the unquantized original")
    return Support(not refusals, tuple(refusals))


def graph_recipes(model: ModelInfo) -> list[Recipe]:
    """Return fp32, then the recipes that suit the graph's operators and opset, most promising first."""
    if model.task in TASKS:
        return encoder_decoder.recipes(model, _table()["recipe"], _BACKEND)
    kinds = _kinds(model)
    source = _source(model)
    return [
        _recipe(entry, source, model.opset)
        for entry in _table()["recipe"]
        if set(entry.get("only", "").split("+")) - {""} <= kinds
    ]


def _recipe(entry: Mapping[str, Any], source: Mapping[str, Any], opset: int | None) -> Recipe:
    tuned = bool(entry.get("tuned"))
    # The settings to try are part of the build parameters, because data files are not part of a job's key.
    tuning = {"session": _table()["session"]} if tuned else {}
    needed = entry.get("opset", _QUANTIZERS_OPSET if entry["passes"] else 0)
    lifted = {"lift": needed} if opset is not None and opset < needed else {}
    return Recipe(
        _BACKEND,
        entry["name"],
        {"graph": True, "source": dict(source), "passes": entry["passes"], **lifted, **tuning},
        effort=entry["effort"],
        exact=not entry["passes"] and not tuned,
        # A lifted graph is compared with the graph as it was on the samples, too.
        calibrated=bool(tuned or lifted or any(one["type"] == _CALIBRATED_PASS for one in entry["passes"])),
        why=entry["why"],
    )


def _kinds(model: ModelInfo) -> set[str]:
    """Return the kinds of the graph, in the words of the recipes' key `only`."""
    operators = {name.rpartition("::")[2] for name in model.operators}
    encoder = model.format == "huggingface"
    kinds = {"transformer"} if is_transformer(model) else {"other"}
    kinds |= {"matmul"} if encoder or operators & _MATMUL else set()
    kinds |= {"linear"} if encoder or operators & (_MATMUL | _GEMM) else set()
    kinds |= {"conv"} if operators & _CONV else set()
    return kinds


def _source(model: ModelInfo) -> dict[str, Any]:
    """Return what `prepare` must know about the original."""
    if model.format == "onnx":
        return {"format": "onnx"}
    if model.format == "torch-export":
        inputs, outputs = ([one.name for one in part] for part in (model.inputs, model.outputs))
        return {"format": model.format, "inputs": inputs, "outputs": outputs}
    names = [one.name for one in model.inputs] or ["input_ids", "attention_mask"]
    return {"format": model.format, "task": model.task, "inputs": names, "output": _HEADS[model.task]}


@functools.cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("graph_recipes.toml").read_text("utf-8"))


def graph_steps(recipe: Recipe) -> Step:
    """Return the steps: prepare the graph, one step per pass, and tune the session's settings if the recipe does."""
    if recipe.build["graph"] == "encoder-decoder":
        return encoder_decoder.steps(recipe)
    step = Step(f"{_BUILD}:prepare", dict(recipe.build["source"]), reads=("model",))
    if "lift" in recipe.build:
        step = Step(f"{_LIFT}:lift", {"opset": recipe.build["lift"]}, {"graph": step}, ("calibration",))
    for one in recipe.build["passes"]:
        reads = ("calibration",) if one["type"] == _CALIBRATED_PASS else ()
        step = Step(f"{_BUILD}:apply", dict(one), {"graph": step}, reads)
    if "session" in recipe.build:
        params = {"session": recipe.build["session"]}
        step = Step(f"{_BUILD}:tune", params, {"graph": step}, ("calibration",))
    return step


def open_graph(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob
) -> OrtSession | EncoderDecoderSession:
    """Open a session of ONNX Runtime with `job.threads` and the settings that `tune` chose, if any (worker side)."""
    from edgehone.backends.onnxruntime.session import OrtSession

    if (artifact / encoder_decoder.ENCODER).is_file():
        return encoder_decoder.open_session(artifact, settings, job.threads)
    return OrtSession(onnx_files.find(artifact), tuned(artifact) | dict(settings), job.threads)


def tuned(artifact: Path) -> dict[str, Any]:
    """Return the settings that `tune` chose; an empty dict if it did not run."""
    path = artifact / "session.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def open_graph_many(artifact: Path, settings: Mapping[str, Any], job: WorkerJob, clients: int) -> OrtSession:
    """Open the same session: ONNX Runtime accepts calls from several threads, which share the session's threads."""
    session = open_graph(artifact, settings, job)
    if isinstance(session, EncoderDecoderSession):
        raise JobError("an encoder-decoder serves one client at a time", hint="give a workload of one client")
    return session
