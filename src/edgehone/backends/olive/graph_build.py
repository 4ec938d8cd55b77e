"""Build steps of graphs in the olive backend: one of Olive's passes per job (worker side)."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from edgehone.backends.olive import lift_float16, unique_names
from edgehone.backends.olive.export import export_encoder, export_program
from edgehone.backends.olive.run_pass import run_pass
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared import onnx_files
from edgehone.core.errors import JobError, TextError
from edgehone.inputs.batches import SAMPLES, Batches

_MODEL = "model.onnx"
# A protobuf file holds at most 2 GiB, and quantization copies weights: larger weights go to an external file.
_INLINE_BYTES = 1 << 30


def prepare(job: WorkerJob) -> dict[str, Any]:
    """Write the original as one cleaned-up graph, with the original's names of inputs and outputs (worker side).

    args: format ("onnx", "torch-export" or "huggingface"); for a program inputs and outputs (names), for an encoder
    task, inputs, output. inputs: model. Returns `onnx_files.facts`. Raises ModelError for a file that ONNX Runtime
    cannot run, JobError for a pass that fails.
    """
    with tempfile.TemporaryDirectory(dir=job.out.parent) as scratch:
        if job.args["format"] == "onnx":
            source = _copied(onnx_files.find(job.inputs["model"].absolute()), Path(scratch))
        else:
            job.progress(0.2, "exporting to ONNX")
            export = export_program if job.args["format"] == "torch-export" else export_encoder
            source = export(job, Path(scratch) / _MODEL)
        _clean(source, job.args.get("output"))
        job.progress(0.7, "removing redundant operators")
        # onnxoptimizer is not installed; the pass then uses onnxscript's optimizer.
        run_pass("OnnxPeepholeOptimizer", {"onnxoptimizer_optimize": False}, source, job.out / _MODEL)
    return onnx_files.facts(job.out / _MODEL)


def apply(job: WorkerJob) -> dict[str, Any]:
    """Run one pass on the graph (worker side).

    args: the pass's `type` and settings. inputs: graph, and calibration for static quantization. Returns
    `onnx_files.facts`, and the fact `nothing_to_gain`, with the reason, if the pass changes nothing, since the recipe's
    name would then be wrong. Raises JobError if a pass fails.
    """
    source, target = onnx_files.find(job.inputs["graph"]), job.out / _MODEL
    config = dict(job.args)
    name = config.pop("type")
    graph, before = onnx_files.read(source).graph, onnx_files.facts(source)
    if float32_operators := config.pop("also_float32", None):
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

        config["op_block_list"] = [*DEFAULT_OP_BLOCK_LIST, *float32_operators]
    if "calibration" in job.inputs:
        config["data_config"] = _data_config(*samples(job, graph))
    job.progress(0.2, name)
    with tempfile.TemporaryDirectory(dir=job.out.parent) as scratch:
        if config.pop("keep_ends", False):
            # Preprocess first: it may fuse and rename nodes.
            source = _preprocessed(source, Path(scratch) / _MODEL)
            outputs = _output_nodes(onnx_files.read(source).graph)
            config |= {"quant_preprocess": False, "nodes_to_exclude": outputs}
        run_pass(name, config, source, target)
    facts = onnx_files.facts(target)
    if facts["operators"] == before["operators"] and facts["weight_types"] == before["weight_types"]:
        nothing = f"Olive's {name} found nothing to change in this graph: it has {_first_names(before['operators'])}"
        return {**facts, "nothing_to_gain": nothing}
    return facts


def tune(job: WorkerJob) -> dict[str, Any]:
    """Copy the graph and write session.json: the fastest settings of args["session"], {} if none is clearly faster.

    inputs: graph, calibration. Returns `onnx_files.facts`, the chosen settings as `session`, and all measurements as
    `sessions`.
    """
    from edgehone.backends.onnxruntime import tuning

    source = onnx_files.find(job.inputs["graph"])
    model = onnx_files.read(source)
    for name in (source.name, *onnx_files.data_files(model, source.name)):
        shutil.copyfile(source.parent / name, job.out / name)
    batches, size = samples(job, model.graph)
    first = batches.around(0, size)
    fitting = [
        one
        for one in job.args["session"]
        if one.get("intra_op_threads", 1) * one.get("inter_op_threads", 1) <= job.threads
    ]
    job.progress(0.3, "measuring session settings")
    chosen, measured = tuning.tune(source, fitting, first, job.threads)
    (job.out / "session.json").write_text(json.dumps(chosen), "utf-8")
    return {**onnx_files.facts(job.out / source.name), "session": chosen, "sessions": measured}


def samples(job: WorkerJob, graph: Any) -> tuple[Batches, int]:
    """Return the calibration samples of the graph's inputs, and the batch size that the graph fixes, else 1.

    Raises TextError if the samples cannot be read or do not fit the inputs.
    """
    import onnx

    hint = "give samples of the model's own inputs with --calibrate FILE"
    try:
        batches = Batches.read(job.inputs["calibration"])
    except Exception as error:
        path = job.inputs["calibration"] / SAMPLES
        raise TextError(f"the calibration samples {path} cannot be read: {error}", hint=hint) from error
    stored, batch = batches.arrays | batches.shared, 1
    for one in onnx_files.graph_inputs(graph):
        if one.name not in stored:
            raise TextError(
                f"the calibration samples have {_first_names(stored)}, not the input '{one.name}'", hint=hint
            )
        kind = one.type.tensor_type
        array, dtype = stored[one.name], onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        rank = len(kind.shape.dim)
        if array.dtype != dtype or array.ndim != rank or not array.size:
            raise TextError(
                f"the graph takes '{one.name}' as {dtype} of rank {rank}; the calibration samples give {array.dtype} "
                f"{list(array.shape)}",
                hint=hint,
            )
        axis = batches.axes.of_input(one.name)
        batch = max(batch, kind.shape.dim[axis].dim_value if axis is not None else 1)
    names = {one.name for one in onnx_files.graph_inputs(graph)}
    arrays = {name: array for name, array in batches.arrays.items() if name in names}
    shared = {name: array for name, array in batches.shared.items() if name in names}
    return Batches(arrays, None, shared, batches.axes), batch


def _copied(source: Path, scratch: Path) -> Path:
    """Check the file and copy it with its data: the onnx package does not follow links to external data."""
    model = onnx_files.check(source)
    for name in (source.name, *onnx_files.data_files(model, source.name)):
        target = scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / name, target)
    return scratch / source.name


def _clean(path: Path, output: str | None) -> None:
    """Remove metadata, which contains paths of the exporting machine, and all outputs except the given one, if any.

    Weights that are listed as inputs too (IR version 3) are no longer listed: passes would take them for inputs.
    float16 becomes float32, which quantizers need, and no two values have one name.
    """
    import onnx

    model = onnx.load(path)
    inputs = onnx_files.graph_inputs(model.graph)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    lift_float16.lift(model)
    unique_names.rename(model)
    if output is not None:
        kept = [one for one in model.graph.output if one.name == output]
        del model.graph.output[:]
        model.graph.output.extend(kept)
    parts = (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info)
    for part in (*parts, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    save(model, path)


def save(model: Any, path: Path) -> None:
    """Write a graph, with large weights in a file beside it."""
    import onnx

    for old in path.parent.glob("*.data"):
        old.unlink()  # onnx.save would append to it
    external = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _INLINE_BYTES
    onnx.save(model, path, save_as_external_data=external, location=f"{_MODEL}.data" if external else None)


def _preprocessed(source: Path, target: Path) -> Path:
    """Infer shapes, as quantization requires, and give every node a name.

    Where ONNX Runtime's inference of symbolic shapes fails, as in loops of which an optional input is left out, onnx's
    own inference has to do.
    """
    import onnx

    try:
        run_pass("OnnxQuantizationPreprocess", {}, source, target)
    except JobError:
        run_pass("OnnxQuantizationPreprocess", {"skip_symbolic_shape": True}, source, target)
    model = onnx.load(target)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    save(model, target)
    return target


def _output_nodes(graph: Any) -> list[str]:
    """Return the names of the nodes that compute the graph's outputs."""
    wanted = {one.name for one in graph.output}
    return [node.name for node in graph.node if wanted & set(node.output)]


def _data_config(batches: Batches, size: int) -> Any:
    """Return Olive's data configuration for samples in memory, in batches of `size`."""
    from olive.data.config import DataConfig
    from olive.data.registry import Registry

    Registry.register_dataset("edgehone_samples")(lambda **_: _Feeds(batches, size))
    return DataConfig(
        name="calibration",
        type="DataContainer",
        load_dataset_config={"type": "edgehone_samples"},
        pre_process_data_config={"type": "skip_pre_process"},
        post_process_data_config={"type": "skip_post_process"},
        dataloader_config={"type": "no_auto_batch_dataloader"},
    )


class _Feeds:
    """A dataset of whole batches, in the layout of the graph's inputs."""

    def __init__(self, batches: Batches, size: int) -> None:
        self._batches, self._size = batches, size

    def __len__(self) -> int:
        return max(1, self._batches.count // self._size)

    def __getitem__(self, at: int) -> dict[str, Any]:
        if at >= len(self):
            raise IndexError(at)
        return self._batches.around(at * self._size, self._size)


def _first_names(names: Any) -> str:
    listed = list(names)
    return ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "")
