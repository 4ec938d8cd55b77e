"""openvino's graphs: ONNX files, exported PyTorch programs and encoders, to IR and to 8 bits by NNCF.

The steps: `convert` writes the float32 IR, from which `compress` (weights alone) or `quantize` (weights and
activations, with samples) make the others. What can be built is data: openvino_graph_recipes.toml; which
encoders optimum-intel exports: openvino_encoders.txt. The session is in `openvino_graph_session`.
"""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.base import (
    Recipe,
    Step,
    Support,
)
from edgehone.backends.openvino import ir
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import JobError
from edgehone.model.info import ModelInfo

ENCODER_TASKS = ("feature-extraction", "text-classification")
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}
# Domains of operators that OpenVINO's ONNX frontend has translations for.
DOMAINS = ("com.microsoft", "org.openvinotoolkit")

_NAME = "openvino"
_TYPES = "token_type_ids"
_HERE = "edgehone.backends.openvino.graph"
_QUANTIZE = "edgehone.backends.openvino.graph_quantize"
# What tells a transformer, whichever exporter wrote it: attention as one operator, or its normalisation.
_ATTENTION = ("Attention", "LayerNormalization", "scaled_dot_product_attention", "layer_norm")


@functools.cache
def encoders() -> frozenset[str]:
    """The model types whose encoders were exported by the pinned optimum-intel and compared with the original."""
    text = Path(__file__).with_name("encoders.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def supports(model: ModelInfo) -> Support:
    """Whether the graph can be converted, as far as its headers tell; the conversion itself may still refuse."""
    refusals = []
    if model.format == "huggingface":
        if model.task not in ENCODER_TASKS:
            refusals.append(f"of encoders, {' and '.join(ENCODER_TASKS)} are exported, not '{model.task}'")
        elif model.remote_code:
            refusals.append("the model brings code of its own, which is not run")
        elif model.model_type not in encoders():
            refusals.append(f"optimum-intel is not known to export the encoder '{model.model_type}'")
    elif model.format not in SUFFIXES:
        refusals.append(f"no converter for '{model.format}'")
    foreign = sorted(
        {name for name in model.operators if "::" in name and not name.startswith(DOMAINS)}
        if model.format == "onnx"
        else ()
    )
    if foreign:
        refusals.append(f"no translation for {', '.join(foreign[:3])}")
    unfit = [tensor.name for tensor in model.inputs if tensor.dtype in ("str", "object", "string")]
    if unfit:
        refusals.append(f"the input {unfit[0]!r} is text: only numbers can be fed")
    if model.quantized:
        refusals.append(f"quantized already ({model.quantized}): give the unquantized original")
    return Support(not refusals, tuple(refusals))


def is_transformer(model: ModelInfo) -> bool:
    """Whether NNCF should look for a transformer's patterns.

    By its attention or its normalisation; those decomposed (ONNX before opset 17) show as a softmax beside
    the powers of a variance.
    """
    if model.format == "huggingface":
        return True
    names = set(model.operators)
    if any(mark in name for name in names for mark in _ATTENTION):
        return True
    return {"Softmax", "MatMul", "Pow", "ReduceMean"} <= names


def recipes(model: ModelInfo) -> list[Recipe]:
    """fp32, then what the table has for this kind of graph, in order of promise."""
    kind = "transformer" if is_transformer(model) else "other"
    return [_recipe(entry, model, kind) for entry in _table() if entry.get("only", kind) == kind]


def _recipe(entry: Mapping[str, Any], model: ModelInfo, kind: str) -> Recipe:
    names = {
        "inputs": [tensor.name for tensor in model.inputs],
        "outputs": [tensor.name for tensor in model.outputs],
    }
    source = model.task if model.format == "huggingface" else model.path.name
    build: dict[str, Any] = {"graph": model.format, "source": source, **names, "mode": entry["mode"]}
    build |= {name: entry[name] for name in ("weights", "preset", "bias", "max_drop") if name in entry}
    calibrated = entry["mode"] in ("ptq", "accuracy_control")
    if calibrated:
        build["model_type"] = kind
    return Recipe(
        _NAME,
        entry["name"],
        build,
        {"inference_precision": entry["precision"]} if "precision" in entry else {},
        effort=entry["effort"],
        exact=entry["mode"] == "fp32",
        calibrated=calibrated,
        why=entry["why"],
    )


@functools.cache
def _table() -> list[dict[str, Any]]:
    text = Path(__file__).with_name("graph_recipes.toml").read_text("utf-8")
    entries: list[dict[str, Any]] = tomllib.loads(text)["recipe"]
    return entries


def steps(recipe: Recipe) -> Step:
    """The float32 IR, and from it the smaller one."""
    build = dict(recipe.build)
    origin = {name: build.pop(name) for name in ("graph", "source", "inputs", "outputs")}
    convert = Step(f"{_HERE}:convert", origin, reads=("model",))
    if recipe.exact:
        return convert
    if recipe.calibrated:
        return Step(f"{_QUANTIZE}:quantize", build, {"fp32": convert}, ("calibration",))
    return Step(f"{_HERE}:compress", build, {"fp32": convert})


def convert(job: WorkerJob) -> dict[str, Any]:
    """The float32 IR (worker side). The converters' own exceptions pass.

    args: graph (the format), source (the file's name, or the task of an encoder), inputs, outputs (the
    original's names, in its order). Raises JobError where the IR's inputs and outputs are not the original's.
    """
    import openvino as ov

    job.progress(0.1, "converting to IR")
    if job.args["graph"] == "huggingface":
        model = _encoder(job)
    elif job.args["graph"] == "onnx":
        model = ov.convert_model(str(_file(job)))
    else:
        from edgehone.backends.shared import torch_export

        program = torch_export.load(_file(job))
        model = ov.convert_model(program)
        shapes = torch_export.input_shapes(program)
        model.reshape({port: ov.PartialShape(s) for port, s in zip(model.inputs, shapes, strict=True)})
    positional = job.args["graph"] == "torch-export"
    ports = _name(model, job.args["inputs"], job.args["outputs"], by_position=positional)
    job.progress(0.9, "saving")
    ir.save(model, job.out)
    (job.out / ir.PORTS).write_text(json.dumps(ports), encoding="utf-8")
    return ir.facts(job.out)


def _file(job: WorkerJob) -> Path:
    """The model's file, whether the file or its folder was handed over."""
    place = job.inputs["model"]
    return place / job.args["source"] if place.is_dir() else place


def _encoder(job: WorkerJob) -> Any:
    """An encoder's IR by optimum-intel; its tokenizer is not needed, since samples are made of ids."""
    import openvino as ov
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig

    with tempfile.TemporaryDirectory() as folder:
        main_export(
            str(job.inputs["model"]),
            folder,
            task=job.args["source"],
            library_name="transformers",
            local_files_only=True,
            trust_remote_code=False,
            convert_tokenizer=False,
            ov_config=OVConfig(dtype="fp32"),
        )
        # The weights are mapped from a file that goes with the folder: a copy is of this process alone.
        core = ov.Core()
        core.set_property({"ENABLE_MMAP": False})
        model = core.read_model(Path(folder) / ir.MODEL)
    if job.args["inputs"] and _TYPES not in job.args["inputs"]:
        _without_types(model)
    return model


def _without_types(model: Any) -> None:
    """Zeros for the token types, of an encoder whose tokenizer does not give them: as the original takes them."""
    import numpy as np
    from openvino import opset13 as ops

    ports = {port.get_any_name(): port for port in model.inputs}
    if _TYPES in ports:
        unused = ports[_TYPES].get_node()
        zeros = ops.broadcast(ops.constant(0, dtype=np.int64), ops.shape_of(ports["input_ids"]))
        unused.output(0).replace(zeros.output(0))
        model.remove_parameter(unused)


def _name(model: Any, inputs: list[str], outputs: list[str], *, by_position: bool) -> dict[str, list[str]]:
    """The original's names of the ports, in the IR's order; by position where the converter made up its own.

    Outputs that the original does not have are dropped. Raises JobError where the two do not match otherwise.
    """
    both = (("inputs", model.inputs, inputs), ("outputs", model.outputs, outputs))
    if by_position:
        for what, ports, names in both:
            if len(ports) != len(names):
                raise JobError(f"the IR has {len(ports)} {what}; the original's are {', '.join(names)}")
            for port, name in zip(ports, names, strict=True):
                port.get_tensor().set_names({name})
    wanted = set(outputs)
    for port in model.outputs:
        if wanted and not wanted & port.get_names():
            model.remove_result(port.get_node())
    made: dict[str, list[str]] = {}
    for what, ports, names in (("inputs", model.inputs, inputs), ("outputs", model.outputs, outputs)):
        left = list(names) or [port.get_any_name() for port in ports]
        taken = [_take(left, port) for port in ports]
        made[what] = [name for name in taken if name is not None]
        if left or None in taken:
            found = ", ".join("/".join(sorted(port.get_names())) or "unnamed" for port in ports)
            raise JobError(f"the IR's {what} are {found}; the original's are {', '.join(names)}")
    return made


def _take(names: list[str], port: Any) -> str | None:
    """The first of `names` that the port has, taken off the list: two outputs may be one tensor with both names."""
    own = port.get_names()
    for name in names:
        if name in own:
            names.remove(name)
            return name
    return None


def compress(job: WorkerJob) -> dict[str, Any]:
    """16-bit storage, or 8-bit weights by nncf.compress_weights (worker side).

    args: mode, and weights ("int8_asym", "int8_sym") where it is "weights". inputs: fp32.
    """
    import openvino as ov

    model = ov.Core().read_model(job.inputs["fp32"] / ir.MODEL)
    if job.args["mode"] == "weights":
        import nncf

        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode(job.args["weights"]))
    ir.save(model, job.out, fp16=job.args["mode"] == "fp16")
    shutil.copyfile(job.inputs["fp32"] / ir.PORTS, job.out / ir.PORTS)
    return ir.facts(job.out)
