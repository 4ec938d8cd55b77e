"""Build steps of language models in olive: Olive's passes, and ONNX Runtime GenAI's model builder (worker side)."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.olive import mixed_precision
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared import onnx_files, quantized_weights
from edgehone.backends.shared.calibration import LENGTH, windows
from edgehone.core.errors import JobError

MODEL = "model.onnx"
# Index of the weights among a node's inputs; every other input is an activation.
_WEIGHTS = {"MatMul": 1, "Gemm": 1, "Gather": 0}
_DATASET = "edgehone_calibration"


def onnx(job: WorkerJob) -> dict[str, Any]:
    """Build ONNX with genai_config.json and the tokenizer, using the model builder (worker side).

    args: precision ("fp32", "int8", "int4") and any of the builder's options; mix, if the checkpoint was built from
    one. inputs: model, and optionally checkpoint: a quantized one, whose weights the builder keeps; it quantizes
    only what the checkpoint left in float.

    Returns `weight_types`, `bytes` and `providers`, and for a mix also `mix`: the assignment, and where the graph
    differs from it. Raises JobError if the builder writes no model. Olive's own ModelBuilder pass is not used: in
    Olive 0.13 it imports a module that ONNX Runtime GenAI 0.18 no longer has.
    """
    quiet("onnxruntime", "onnxruntime_genai")
    from onnxruntime_genai.models import builder

    source = job.inputs.get("checkpoint", job.inputs["model"])
    # Layers with a sliding window get a cache for the full context too; ONNX Runtime cannot score the model otherwise.
    options = {"windowed_kv_cache": False, **job.args}
    for name in ("precision", "mix"):
        options.pop(name, None)
    common = (str(source), str(source), str(job.out), job.args["precision"], "cpu")
    job.progress(0.1, "building ONNX")
    with tempfile.TemporaryDirectory(prefix="builder-", dir=job.out.parent) as cache:
        arguments = [f"{name}={_spelled(value)}" for name, value in options.items()]
        # The builder deletes its cache folder if it is empty.
        (Path(cache) / "placeholder").touch()
        prepared = builder.parse_extra_options(*common, cache, arguments)
        builder.create_model(*common, cache, **prepared)
    if not (job.out / MODEL).is_file():
        files = ", ".join(sorted(path.name for path in job.out.iterdir())) or "nothing"
        raise JobError(f"the model builder did not write {MODEL}; it wrote {files}")
    return _facts(job.out) | _mix_facts(job)


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def checkpoint(job: WorkerJob) -> dict[str, Any]:
    """Quantize the PyTorch model with Olive's passes, to a Hugging Face checkpoint (worker side).

    args: passes ([{"pass": name, …its configuration}]), mix (bits and group of each layer, assigned from
    inputs["sensitivity"]). inputs: model, and calibration for calibrated passes. Returns `bytes`.
    """
    quiet("onnxruntime", "onnxruntime_genai")
    from olive.model import HfModelHandler

    # Load in float32: otherwise the scales would be rounded to the checkpoint's 16 bits.
    handler = HfModelHandler(str(job.inputs["model"]), load_kwargs={"torch_dtype": "float32"})
    passes = [_with_data(job, one) for one in job.args["passes"]]
    if "mix" in job.args:
        overrides = mixed_precision.overrides(mixed_precision.assigned_types(job), job)
        passes = [{**one, "overrides": overrides} for one in passes]
    _run(job, handler, passes)
    return {"bytes": _size(job.out)}


def hqq(job: WorkerJob) -> dict[str, Any]:
    """Quantize the float matrices of an ONNX graph to 4 bits by half-quadratic quantization (Badri and Shaji, 2023).

    args: block_size. inputs: onnx. Uses ONNX Runtime's quantizer: Olive's pass of the same name transposes the
    matrices wrongly (KL divergence 6.6 on the demo model). Zero points are floats, so a block has 64 bits in
    addition to its weights. Returns `weight_types`, `bytes` and `providers`.
    """
    quiet("onnxruntime", "onnxruntime_genai")
    import onnx as onnx_package
    from onnxruntime.quantization import matmul_nbits_quantizer as nbits

    source = job.inputs["onnx"]
    job.progress(0.1, "HQQ")
    config = nbits.HQQWeightOnlyQuantConfig(int(job.args["block_size"]), op_types_to_quantize=("MatMul",))
    quantizer = nbits.MatMulNBitsQuantizer(onnx_package.load(str(source / MODEL)), bits=4, algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(job.out / MODEL), use_external_data_format=True)
    for path in source.iterdir():
        if path.is_file() and not path.name.startswith(MODEL):
            shutil.copyfile(path, job.out / path.name)
    return _facts(job.out)


def compress(job: WorkerJob) -> dict[str, Any]:
    """Apply Olive's passes to the ONNX graph (worker side).

    args: passes, mix as in `onnx`. A pass with `nodes` = "embedding" applies only to the lookup of the embeddings,
    and is skipped if that is already quantized. inputs: onnx. Returns the same facts as `onnx`.
    """
    quiet("onnxruntime", "onnxruntime_genai")
    from olive.model import ONNXModelHandler

    source = job.inputs["onnx"]
    handler = ONNXModelHandler(str(source), onnx_file_name=MODEL)
    passes = []
    for one in job.args["passes"]:
        config = dict(one)
        if config.pop("nodes", "") == "embedding":
            config["nodes_to_include"] = _embedding_lookups(source / MODEL)
            if not config["nodes_to_include"]:
                continue
        passes.append(config)
    if passes:
        _run(job, handler, passes)
    for path in source.iterdir():
        if path.is_file() and not (passes and path.name.startswith(MODEL)):
            shutil.copyfile(path, job.out / path.name)
    return _facts(job.out) | _mix_facts(job)


def _run(job: WorkerJob, handler: Any, passes: list[dict[str, Any]]) -> None:
    """Run Olive's passes one after another; `out` receives the files of the last one."""
    from olive.package_config import OlivePackageConfig
    from olive.passes.olive_pass import create_pass_from_dict

    known = OlivePackageConfig.load_default_config()
    with tempfile.TemporaryDirectory(prefix="passes-", dir=job.out.parent) as scratch:
        for number, entry in enumerate(passes):
            name = entry["pass"]
            job.progress((number + 0.1) / len(passes), name)
            config = {key: value for key, value in entry.items() if key != "pass"}
            one = create_pass_from_dict(known.import_pass_module(name), config, disable_search=True)
            handler = one.run(handler, f"{scratch}/{number}")
        result = Path(handler.model_path)
        folder = result if result.is_dir() else result.parent
        if Path(scratch) not in folder.parents:
            raise JobError(f"Olive's pass {name} changed no weights: its result is still {folder}")
        for path in list(folder.iterdir()):
            shutil.move(path, job.out / path.name)


def _with_data(job: WorkerJob, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pass's configuration with the calibration ids, so that Olive does not download its own data."""
    if "calibration" not in job.inputs:
        return dict(config)
    from olive.data.registry import Registry

    context = json.loads((job.inputs["model"] / "config.json").read_text("utf-8")).get(
        "max_position_embeddings"
    )
    samples = windows(job.inputs["calibration"], int(context or LENGTH))
    Registry.register_dataset(_DATASET)(lambda **ignored: _Samples(samples))
    data = {
        "name": _DATASET,
        "load_dataset_config": {"type": _DATASET},
        "pre_process_data_config": {"type": "skip_pre_process"},
        "post_process_data_config": {"type": "skip_post_process"},
        "dataloader_config": {"type": "default_dataloader", "params": {"batch_size": 1}},
    }
    return {**config, "data_config": data}


class _Samples:
    """Windows of ids in the form of the dataset that Olive reads: (inputs of the model, label)."""

    def __init__(self, samples: list[list[int]]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], Any]:
        import torch

        ids = torch.tensor(self._samples[index])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, ids


def _graph(path: Path) -> Any:
    import onnx as onnx_package

    return onnx_package.load(str(path), load_external_data=False).graph


def _embedding_lookups(path: Path) -> list[str]:
    """Return the names of the nodes that look up float embeddings for the input ids."""
    graph = _graph(path)
    weights = {tensor.name for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type == "Gather" and node.input[0] in weights and node.input[1] == "input_ids"
    ]


def _mix_facts(job: WorkerJob) -> dict[str, Any]:
    """Return the assignment of a mix, and where the written graph differs from it."""
    if "mix" not in job.args:
        return {}
    return mixed_precision.facts(
        mixed_precision.assigned_types(job), _quantized_nodes(_graph(job.out / MODEL))
    )


def _quantized_nodes(graph: Any) -> list[tuple[str, dict[str, int]]]:
    """Return the name, and bits and block_size, of each node with quantized weights."""
    nodes = []
    for node in graph.node:
        numbers = {one.name: int(one.i) for one in node.attribute if one.name in ("bits", "block_size")}
        if len(numbers) == 2:
            nodes.append((str(node.name), numbers))
    return nodes


def _facts(folder: Path) -> dict[str, Any]:
    """Read the facts of the graph.

    They are the weights by bits and block size or as float, the bytes of all files, and ONNX Runtime's providers.
    """
    import onnxruntime

    model = onnx_files.read(folder / MODEL)
    graph = model.graph
    matrices = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    types: Counter[str] = Counter()
    for node in graph.node:
        numbers = {one.name: one.i for one in node.attribute if one.name in ("bits", "block_size")}
        if "bits" in numbers:
            types[f"{node.op_type} {numbers['bits']} bits in blocks of {numbers.get('block_size')}"] += 1
        elif node.op_type in _WEIGHTS and node.input[_WEIGHTS[node.op_type]] in matrices:
            types[f"{node.op_type} float"] += 1
    return {
        "weight_types": dict(types),
        **quantized_weights.facts(onnx_files.weights_of(model)),
        "bytes": _size(folder),
        "providers": onnxruntime.get_available_providers(),
    }


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def quiet(*runtimes: str) -> None:
    """Turn telemetry off. The runtimes start sending on import unless the environment variable is set."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    for name in runtimes:
        importlib.import_module(name).disable_telemetry_events()
