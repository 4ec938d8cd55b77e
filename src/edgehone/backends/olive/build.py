"""The steps of an olive build: Olive's passes and the model builder of ONNX Runtime GenAI (worker side)."""

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

from edgehone.backends.olive import mix
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared.calibration import LENGTH, windows
from edgehone.core.errors import JobError

MODEL = "model.onnx"
# What a node's weights are, by its input's place; every other input is an activation.
_WEIGHTS = {"MatMul": 1, "Gemm": 1, "Gather": 0}
_DATASET = "edgehone_calibration"


def onnx(job: WorkerJob) -> dict[str, Any]:
    """ONNX with genai_config.json and the tokenizer, by the model builder.

    args: precision ("fp32", "int8", "int4") and whatever of the builder's options. inputs: model, or checkpoint
    (a quantized one: the builder keeps its weights, and quantizes what it left in float). `mix` is what the checkpoint
    was told, for the facts: what was assigned, and where the graph differs. Returns `weight_types`,
    `bytes` and `providers`. Olive's own ModelBuilder pass is not used: that of Olive 0.13 imports a module that
    ONNX Runtime GenAI 0.18 no longer has.
    """
    quiet("onnxruntime", "onnxruntime_genai")
    from onnxruntime_genai.models import builder

    source = job.inputs.get("checkpoint", job.inputs["model"])
    # A cache as long as the context for layers with a sliding window too: what ONNX Runtime itself can score.
    options = {"windowed_kv_cache": False, **job.args}
    for name in ("precision", "mix"):
        options.pop(name, None)
    place = (str(source), str(source), str(job.out), job.args["precision"], "cpu")
    job.progress(0.1, "building ONNX")
    with tempfile.TemporaryDirectory(prefix="builder-", dir=job.out.parent) as cache:
        told = [f"{name}={_spelled(value)}" for name, value in options.items()]
        # The builder keeps its cache folder only while something is in it.
        (Path(cache) / "kept").touch()
        prepared = builder.parse_extra_options(*place, cache, told)
        builder.create_model(*place, cache, **prepared)
    if not (job.out / MODEL).is_file():
        written = ", ".join(sorted(path.name for path in job.out.iterdir())) or "nothing"
        raise JobError(f"the model builder wrote no {MODEL}, but {written}")
    return _facts(job.out) | _mixed(job)


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def checkpoint(job: WorkerJob) -> dict[str, Any]:
    """A quantized Hugging Face checkpoint, by Olive's passes over the PyTorch model.

    args: passes ([{"pass": name, …its configuration}]), mix (bits and group of each layer by inputs["sensitivity"]).
    inputs: model, and calibration for those that learn from it.
    """
    quiet("onnxruntime", "onnxruntime_genai")
    from olive.model import HfModelHandler

    # In float32 throughout: by default the scales would be rounded to the checkpoint's 16 bits.
    handler = HfModelHandler(str(job.inputs["model"]), load_kwargs={"torch_dtype": "float32"})
    passes = [_with_data(job, one) for one in job.args["passes"]]
    if "mix" in job.args:
        own = mix.overrides(mix.assigned(job), job)
        passes = [{**one, "overrides": own} for one in passes]
    _run(job, handler, passes)
    return {"bytes": _size(job.out)}


def hqq(job: WorkerJob) -> dict[str, Any]:
    """The float matrices of an ONNX graph in 4 bits by half-quadratic quantization (Badri and Shaji, 2023).

    args: block_size. inputs: onnx. ONNX Runtime's own quantizer: Olive's pass of that name takes the matrices the wrong
    way round (KL 6.6 on the demo model). Its zero points are floats, so a block has 64 bits beside its weights.
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
    """The ONNX graph with Olive's passes over it.

    args: passes; `nodes` = "embedding" of one restricts it to the lookup of the embeddings, and it is left out where
    that is quantized already; mix as above. inputs: onnx.
    """
    quiet("onnxruntime", "onnxruntime_genai")
    from olive.model import ONNXModelHandler

    source = job.inputs["onnx"]
    handler = ONNXModelHandler(str(source), onnx_file_name=MODEL)
    passes = []
    for one in job.args["passes"]:
        asked = dict(one)
        if asked.pop("nodes", "") == "embedding":
            asked["nodes_to_include"] = _embedding(source / MODEL)
            if not asked["nodes_to_include"]:
                continue
        passes.append(asked)
    if passes:
        _run(job, handler, passes)
    for path in source.iterdir():
        if path.is_file() and not (passes and path.name.startswith(MODEL)):
            shutil.copyfile(path, job.out / path.name)
    return _facts(job.out) | _mixed(job)


def _run(job: WorkerJob, handler: Any, passes: list[dict[str, Any]]) -> None:
    """Run Olive's passes one after another; `out` gets the files of the last."""
    from olive.package_config import OlivePackageConfig
    from olive.passes.olive_pass import create_pass_from_dict

    known = OlivePackageConfig.load_default_config()
    with tempfile.TemporaryDirectory(prefix="passes-", dir=job.out.parent) as place:
        for number, asked in enumerate(passes):
            name = asked["pass"]
            job.progress((number + 0.1) / len(passes), name)
            configured = {key: value for key, value in asked.items() if key != "pass"}
            one = create_pass_from_dict(known.import_pass_module(name), configured, disable_search=True)
            handler = one.run(handler, f"{place}/{number}")
        made = Path(handler.model_path)
        folder = made if made.is_dir() else made.parent
        if Path(place) not in folder.parents:
            raise JobError(f"Olive's pass {name} changed no weights: its model lies in {folder}")
        for path in list(folder.iterdir()):
            shutil.move(path, job.out / path.name)


def _with_data(job: WorkerJob, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A pass's configuration with the calibration ids, so that Olive asks no hub for its own."""
    if "calibration" not in job.inputs:
        return dict(asked)
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
    return {**asked, "data_config": data}


class _Samples:
    """Windows of ids as the dataset that Olive reads: (inputs of the model, label)."""

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


def _embedding(path: Path) -> list[str]:
    """The names of the nodes that look up float embeddings: there the ids go in."""
    graph = _graph(path)
    weights = {tensor.name for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type == "Gather" and node.input[0] in weights and node.input[1] == "input_ids"
    ]


def _mixed(job: WorkerJob) -> dict[str, Any]:
    """Of a mix what was assigned, and where the graph that was written differs."""
    if "mix" not in job.args:
        return {}
    return mix.facts(mix.assigned(job), _quantized(_graph(job.out / MODEL)))


def _quantized(graph: Any) -> list[tuple[str, dict[str, int]]]:
    """Name, bits and block_size of the nodes whose weights are rounded."""
    made = []
    for node in graph.node:
        numbers = {one.name: int(one.i) for one in node.attribute if one.name in ("bits", "block_size")}
        if len(numbers) == 2:
            made.append((str(node.name), numbers))
    return made


def _facts(folder: Path) -> dict[str, Any]:
    """What the graph really holds: its weights by bits and block, or as float; and the bytes of all files."""
    import onnxruntime

    graph = _graph(folder / MODEL)
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
        "bytes": _size(folder),
        "providers": onnxruntime.get_available_providers(),
    }


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def quiet(*runtimes: str) -> None:
    """Turn off what would phone home. The runtimes start their sender at import, unless the variable is there."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    for name in runtimes:
        importlib.import_module(name).disable_telemetry_events()
