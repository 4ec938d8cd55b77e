"""What the olive backend's steps for graphs do: Olive's own passes, one a job (worker side)."""

from __future__ import annotations

import inspect
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared import onnx_files
from edgehone.core.errors import JobError, TextError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MODEL = "model.onnx"
_EXPORT_OPSET = 18
# An example input of the export; both sizes stay free in the graph.
_EXAMPLE = [2, 8]
# One protobuf file holds 2 GiB at most; quantizing copies weights, so larger ones go to a file beside it before that.
_INLINE_BYTES = 1 << 30


def prepare(job: WorkerJob) -> dict[str, Any]:
    """The original as one tidied graph, inputs and outputs by the original's names.

    args: format ("onnx" or "huggingface"), and for the latter task, inputs, output. Returns `onnx_files.facts`.
    Raises ModelError for a file that ONNX Runtime cannot run, JobError for a pass that fails.
    """
    with tempfile.TemporaryDirectory(dir=job.out.parent) as scratch:
        if job.args["format"] == "onnx":
            source = _copied(onnx_files.find(job.inputs["model"].absolute()), Path(scratch))
        else:
            job.progress(0.2, "exporting to ONNX")
            source = _export(job, Path(scratch) / _MODEL)
        _tidy(source, job.args.get("output"))
        job.progress(0.7, "removing redundant operators")
        # onnxoptimizer is not in the environment: onnxscript's optimizer does the work.
        _run("OnnxPeepholeOptimizer", {"onnxoptimizer_optimize": False}, source, job.out / _MODEL)
    return onnx_files.facts(job.out / _MODEL)


def apply(job: WorkerJob) -> dict[str, Any]:
    """One pass on the graph: args are its `type` and settings. Returns `onnx_files.facts`.

    Raises JobError, with the cause, for a pass that fails, and for one that had nothing to do: a recipe that changes
    nothing is not what its name says.
    """
    source, target = onnx_files.find(job.inputs["graph"]), job.out / _MODEL
    config = dict(job.args)
    name = config.pop("type")
    graph, before = onnx_files.read(source).graph, onnx_files.facts(source)
    if more := config.pop("also_float32", None):
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

        config["op_block_list"] = [*DEFAULT_OP_BLOCK_LIST, *more]
    if "calibration" in job.inputs:
        config["data_config"] = _data_config(samples(job, graph), _batch(graph))
    job.progress(0.2, name)
    with tempfile.TemporaryDirectory(dir=job.out.parent) as scratch:
        if config.pop("keep_ends", False):
            # Named after preparing, which may fuse operators and name them anew.
            source = _prepared(source, Path(scratch) / _MODEL)
            config |= {"quant_preprocess": False, "nodes_to_exclude": _ends(onnx_files.read(source).graph)}
        _run(name, config, source, target)
    found = onnx_files.facts(target)
    if found["operators"] == before["operators"] and found["weight_types"] == before["weight_types"]:
        raise JobError(
            f"Olive's {name} found nothing to do in this graph: it has {_few(before['operators'])}"
        )
    return found


def tune(job: WorkerJob) -> dict[str, Any]:
    """The graph with session.json: the settings of `session` that measured fastest, if any did clearly.

    Returns `onnx_files.facts`, the settings found as `session`, and all that was measured as `sessions`.
    """
    from edgehone.backends.onnxruntime import tuning

    source = onnx_files.find(job.inputs["graph"])
    model = onnx_files.read(source)
    for name in (source.name, *onnx_files.data_files(model, source.name)):
        shutil.copyfile(source.parent / name, job.out / name)
    first = {name: array[: _batch(model.graph)] for name, array in samples(job, model.graph).items()}
    fitting = [
        one
        for one in job.args["session"]
        if one.get("intra_op_threads", 1) * one.get("inter_op_threads", 1) <= job.threads
    ]
    job.progress(0.3, "measuring session settings")
    found, measured = tuning.tune(source, fitting, first, job.threads)
    (job.out / "session.json").write_text(json.dumps(found), "utf-8")
    return {**onnx_files.facts(job.out / source.name), "session": found, "sessions": measured}


def samples(job: WorkerJob, graph: Any) -> dict[str, NDArray[Any]]:
    """The calibration samples that the graph takes, by input name, samples first. TextError if they do not fit."""
    import numpy as np
    import onnx

    path = job.inputs["calibration"] / "samples.npz"
    hint = "give samples of the model's own inputs with --calibrate FILE"
    try:
        with np.load(path, allow_pickle=False) as stored:
            given = {name: stored[name] for name in stored.files}
    except Exception as error:
        raise TextError(f"the calibration samples {path} cannot be read: {error}", hint=hint) from error
    weights = {tensor.name for tensor in graph.initializer}
    made = {}
    for one in graph.input:
        if one.name in weights:
            continue
        if one.name not in given:
            raise TextError(
                f"the calibration samples have {_few(given)}, not the input '{one.name}'", hint=hint
            )
        kind = one.type.tensor_type
        array, dtype = given[one.name], onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        rank = len(kind.shape.dim)
        if array.dtype != dtype or array.ndim != rank or not array.size:
            raise TextError(
                f"the graph takes '{one.name}' as {dtype} of rank {rank}; the calibration samples give {array.dtype} "
                f"{list(array.shape)}",
                hint=hint,
            )
        made[one.name] = array
    return made


def _copied(source: Path, scratch: Path) -> Path:
    """The checked file and its data, as files: the onnx package follows no links to data."""
    model = onnx_files.check(source)
    for name in (source.name, *onnx_files.data_files(model, source.name)):
        target = scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / name, target)
    return scratch / source.name


def _export(job: WorkerJob, target: Path) -> Path:
    """Olive's OnnxConversion of an encoder in float32, batch and sequence free."""
    from olive.model import HfModelHandler

    told: dict[str, Any] = {
        "model_path": str(job.inputs["model"]),
        "task": job.args["task"],
        "load_kwargs": {
            "torch_dtype": "float32",
            "trust_remote_code": False,
            "extra_args": {"use_safetensors": True, "local_files_only": True, "attn_implementation": "eager"},
        },
    }
    network = HfModelHandler(**told).load_model()
    names = _ordered(job.args["inputs"], network)
    free = {name: {0: "batch", 1: "sequence"} for name in names}
    io_config = {
        "input_names": names,
        "output_names": [job.args["output"]],
        "input_shapes": [_EXAMPLE] * len(names),
        "input_types": ["int64"] * len(names),
        "dynamic_axes": free,
        "dynamic_shapes": free,
    }
    model = HfModelHandler(**told, io_config=io_config)
    model.model = network
    # transformers 5 cannot be traced by the older exporter.
    config = {"use_dynamo_exporter": True, "target_opset": _EXPORT_OPSET}
    _run("OnnxConversion", config, model, target)
    return target


def _ordered(names: Sequence[str], network: Any) -> list[str]:
    """The inputs as the network's own forward() orders them: the exporter gives it the names one after the other."""
    known = list(inspect.signature(network.forward).parameters)
    if strange := [name for name in names if name not in known]:
        raise JobError(
            f"{type(network).__name__} does not take {', '.join(strange)}, which the tokenizer gives"
        )
    return sorted(names, key=known.index)


def _tidy(path: Path, output: str | None) -> None:
    """Drop the exporter's notes on its machine's files, and outputs (a pooler's) beside the one asked for."""
    import onnx

    model = onnx.load(path)
    if output is not None:
        kept = [one for one in model.graph.output if one.name == output]
        del model.graph.output[:]
        model.graph.output.extend(kept)
    parts = (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info)
    for part in (*parts, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    _save(model, path)


def _save(model: Any, path: Path) -> None:
    import onnx

    for old in path.parent.glob("*.data"):
        old.unlink()  # what is there would be appended to
    beside = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _INLINE_BYTES
    onnx.save(model, path, save_as_external_data=beside, location=f"{_MODEL}.data" if beside else None)


def _run(name: str, config: dict[str, Any], source: Any, target: Path) -> None:
    """Run a pass of Olive from a file (or a model handler) to a file."""
    from olive.model import ONNXModelHandler
    from olive.package_config import OlivePackageConfig
    from olive.passes.olive_pass import create_pass_from_dict

    kind = OlivePackageConfig.load_default_config().import_pass_module(name)
    model = ONNXModelHandler(str(source)) if isinstance(source, Path) else source
    try:
        done = create_pass_from_dict(kind, config, disable_search=True).run(model, str(target))
    except Exception as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        raise JobError(f"Olive's {name} failed: {type(root).__name__}: {root}") from error
    if Path(done.model_path).resolve() != target.resolve() or not target.is_file():
        raise JobError(f"Olive's {name} left the graph as it is")


def _prepared(source: Path, target: Path) -> Path:
    """Shapes inferred, as quantizing asks for, and a name for every node."""
    import onnx

    _run("OnnxQuantizationPreprocess", {}, source, target)
    model = onnx.load(target)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    _save(model, target)
    return target


def _ends(graph: Any) -> list[str]:
    """The names of the nodes that make the outputs."""
    wanted = {one.name for one in graph.output}
    return [node.name for node in graph.node if wanted & set(node.output)]


def _batch(graph: Any) -> int:
    """How many samples the graph takes at a time: what it fixes, else one."""
    shapes = [one.type.tensor_type.shape.dim for one in graph.input]
    return max((dims[0].dim_value for dims in shapes if dims), default=1) or 1


def _data_config(arrays: dict[str, NDArray[Any]], batch: int) -> Any:
    """Olive's data configuration of samples that are here already."""
    from olive.data.config import DataConfig
    from olive.data.registry import Registry

    Registry.register_dataset("edgehone_samples")(lambda **_: _Rows(arrays))
    return DataConfig(
        name="calibration",
        type="DataContainer",
        load_dataset_config={"type": "edgehone_samples"},
        pre_process_data_config={"type": "skip_pre_process"},
        post_process_data_config={"type": "skip_post_process"},
        dataloader_config={"type": "default_dataloader", "params": {"batch_size": batch, "drop_last": True}},
    )


class _Rows:
    """Samples one by one, as a data loader asks for them."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return min(len(array) for array in self._arrays.values())

    def __getitem__(self, at: int) -> dict[str, Any]:
        return {name: array[at] for name, array in self._arrays.items()}


def _few(names: Any) -> str:
    listed = list(names)
    return ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "")
