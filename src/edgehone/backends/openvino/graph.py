"""Graphs in the openvino backend: ONNX files, exported PyTorch programs and encoders as IR, compressed by NNCF.

Steps: `convert` writes the float32 IR; `compress` (weights only) or `graph_quantize.quantize` (weights and
activations, with samples) write the others. `graph_recipes.toml` lists what can be built, `encoders.txt` the
encoders that optimum-intel exports. The session is in `graph_session`.
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

from edgehone.backends.base import Recipe, Step, Support
from edgehone.backends.openvino import encoder_decoder, ir
from edgehone.backends.openvino.devices import SIXTEEN_BIT
from edgehone.backends.openvino.export import export_ir
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared import encoder_decoder_support, graph_ports
from edgehone.backends.shared.graph_kinds import is_transformer
from edgehone.backends.shared.recipe_table import read_names
from edgehone.core.errors import JobError
from edgehone.model.encoder_decoder import TASKS
from edgehone.model.info import ModelInfo

ENCODER_TASKS = ("feature-extraction", "text-classification")
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}
# Operator domains that OpenVINO's ONNX frontend can translate.
DOMAINS = ("com.microsoft", "org.openvinotoolkit")

_NAME = "openvino"
_TYPES = "token_type_ids"
_GRAPH = "edgehone.backends.openvino.graph"
_QUANTIZE = "edgehone.backends.openvino.graph_quantize"


@functools.cache
def encoders() -> frozenset[str]:
    """Return the model types whose encoders the pinned optimum-intel exports with outputs that match the original's."""
    return read_names(Path(__file__).with_name("encoders.txt"))


def supports(model: ModelInfo) -> Support:
    """Return whether the graph can be converted, as far as its headers tell. The conversion itself may still fail."""
    refusals = []
    if model.format == "huggingface":
        if model.task in TASKS:
            refusals += encoder_decoder_support.refusals(model)
        elif model.task not in ENCODER_TASKS:
            refusals.append(
                f"encoders are exported for {' and '.join(ENCODER_TASKS)} only, not '{model.task}'"
            )
        elif model.remote_code:
            refusals.append("the model needs custom code, which is never run")
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
        refusals.append(f"OpenVINO has no translation for {', '.join(foreign[:3])}")
    refusals += graph_ports.refusals(model)
    if model.quantized and model.task not in TASKS:
        refusals.append(f"already quantized ({model.quantized}): give the unquantized original")
    return Support(not refusals, tuple(refusals))


def recipes(model: ModelInfo) -> list[Recipe]:
    """Return fp32, then the table's recipes for this kind of graph, most promising first."""
    kind = "transformer" if is_transformer(model) else "other"
    found = [_recipe(entry, model, kind) for entry in _table() if entry.get("only", kind) == kind]
    return encoder_decoder.recipes(model, found) if model.task in TASKS else found


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
        processors=SIXTEEN_BIT if entry.get("only_16_bit") else (),
    )


@functools.cache
def _table() -> list[dict[str, Any]]:
    text = Path(__file__).with_name("graph_recipes.toml").read_text("utf-8")
    entries: list[dict[str, Any]] = tomllib.loads(text)["recipe"]
    return entries


def steps(recipe: Recipe) -> Step:
    """Return the steps: convert to float32, then compress or quantize if the recipe does."""
    if recipe.build["graph"] == "encoder-decoder":
        return encoder_decoder.steps(recipe)
    build = dict(recipe.build)
    origin = {name: build.pop(name) for name in ("graph", "source", "inputs", "outputs")}
    convert = Step(f"{_GRAPH}:convert", origin, reads=("model",))
    if recipe.exact:
        return convert
    if recipe.calibrated:
        return Step(f"{_QUANTIZE}:quantize", build, {"fp32": convert}, ("calibration",))
    return Step(f"{_GRAPH}:compress", build, {"fp32": convert})


def convert(job: WorkerJob) -> dict[str, Any]:
    """Write the float32 IR (worker side).

    args: graph (the format), source (the file's name, or the task of an encoder), inputs, outputs (the original's
    names, in its order). inputs: model. Raises JobError if the IR's inputs and outputs do not match the original's.
    Exceptions of the converters pass through.
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
    ports = _name_ports(model, job.args["inputs"], job.args["outputs"], by_position=positional)
    job.progress(0.9, "saving")
    ir.save(model, job.out)
    (job.out / ir.PORTS).write_text(json.dumps(ports), encoding="utf-8")
    return ir.facts(job.out)


def _file(job: WorkerJob) -> Path:
    """Return the path of the model's file; inputs["model"] is that file or its folder."""
    path = job.inputs["model"]
    return path / job.args["source"] if path.is_dir() else path


def _encoder(job: WorkerJob) -> Any:
    """Export an encoder with optimum-intel. Its tokenizer is not converted, because samples consist of ids."""
    import openvino as ov

    with tempfile.TemporaryDirectory() as folder:
        export_ir(job.inputs["model"], Path(folder), job.args["source"], dtype="fp32", tokenizer=False)
        # Without memory mapping: the file of the weights is deleted with the temporary folder.
        core = ov.Core()
        core.set_property({"ENABLE_MMAP": False})
        model = core.read_model(Path(folder) / ir.MODEL)
    if job.args["inputs"] and _TYPES not in job.args["inputs"]:
        _remove_token_types(model)
    return model


def _remove_token_types(model: Any) -> None:
    """Replace the input token_type_ids by zeros, which the original assumes where its tokenizer does not return it."""
    import numpy as np
    from openvino import opset13 as ops

    ports = {port.get_any_name(): port for port in model.inputs}
    if _TYPES in ports:
        unused = ports[_TYPES].get_node()
        zeros = ops.broadcast(ops.constant(0, dtype=np.int64), ops.shape_of(ports["input_ids"]))
        unused.output(0).replace(zeros.output(0))
        model.remove_parameter(unused)


def _name_ports(
    model: Any, inputs: list[str], outputs: list[str], *, by_position: bool
) -> dict[str, list[str]]:
    """Return the original's names of the inputs and outputs, in the order of the IR's ports.

    `by_position` assigns names by position, for converters that invent names. Outputs that the original does not
    have are removed. Raises JobError if the ports do not match the names.
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
    names_by_kind: dict[str, list[str]] = {}
    for what, ports, names in (("inputs", model.inputs, inputs), ("outputs", model.outputs, outputs)):
        remaining = list(names) or [port.get_any_name() for port in ports]
        matched = [_take_name(remaining, port) for port in ports]
        names_by_kind[what] = [name for name in matched if name is not None]
        if remaining or None in matched:
            port_list = ", ".join("/".join(sorted(port.get_names())) or "unnamed" for port in ports)
            raise JobError(f"the IR's {what} are {port_list}; the original's are {', '.join(names)}")
    return names_by_kind


def _take_name(names: list[str], port: Any) -> str | None:
    """Remove from `names` and return the first one that the port has.

    Two outputs of the original may be one tensor of the IR that has both names.
    """
    port_names = port.get_names()
    for name in names:
        if name in port_names:
            names.remove(name)
            return name
    return None


def compress(job: WorkerJob) -> dict[str, Any]:
    """Store weights in 16 bits, or compress them to 8 bits with nncf.compress_weights (worker side).

    args: mode ("fp16" or "weights"), and weights ("int8_asym", "int8_sym") for the mode "weights". inputs: fp32.
    """
    import openvino as ov

    model = ov.Core().read_model(job.inputs["fp32"] / ir.MODEL)
    if job.args["mode"] == "weights":
        import nncf

        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode(job.args["weights"]))
    ir.save(model, job.out, fp16=job.args["mode"] == "fp16")
    shutil.copyfile(job.inputs["fp32"] / ir.PORTS, job.out / ir.PORTS)
    return ir.facts(job.out)
