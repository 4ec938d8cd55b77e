"""Export an encoder, or a program of torch.export, to ONNX (worker side)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.olive.run_pass import run_pass
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared import torch_export
from edgehone.core.errors import JobError

_OPSET = 18
# Shape of an encoder's example input; both dimensions stay free in the graph.
_EXAMPLE = [2, 8]


def export_program(job: WorkerJob, target: Path) -> Path:
    """Export a program of torch.export with PyTorch's own exporter, with its free sizes and the original's names."""
    import torch

    path = job.inputs["model"]
    program = torch_export.load(path if path.is_file() else next(iter(sorted(path.glob("*.pt2")))))
    try:
        torch.onnx.export(
            program,
            (),
            str(target),
            input_names=job.args["inputs"],
            output_names=job.args["outputs"],
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise JobError(f"PyTorch's exporter to ONNX failed: {_first_line(error)}") from error
    return target


def _first_line(error: Exception) -> str:
    """Return the first line of the error that caused another one; the exporter's own are reports of many pages."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines = str(root).strip().splitlines()
    return lines[0] if lines else type(root).__name__


def export_encoder(job: WorkerJob, target: Path) -> Path:
    """Export an encoder in float32 with Olive's OnnxConversion, with free batch and sequence dimensions."""
    from olive.model import HfModelHandler

    model_options: dict[str, Any] = {
        "model_path": str(job.inputs["model"]),
        "task": job.args["task"],
        "load_kwargs": {
            "torch_dtype": "float32",
            "trust_remote_code": False,
            "extra_args": {"use_safetensors": True, "local_files_only": True, "attn_implementation": "eager"},
        },
    }
    network = HfModelHandler(**model_options).load_model()
    names = _ordered(job.args["inputs"], network)
    dynamic = {name: {0: "batch", 1: "sequence"} for name in names}
    io_config = {
        "input_names": names,
        "output_names": [job.args["output"]],
        "input_shapes": [_EXAMPLE] * len(names),
        "input_types": ["int64"] * len(names),
        "dynamic_axes": dynamic,
        "dynamic_shapes": dynamic,
    }
    model = HfModelHandler(**model_options, io_config=io_config)
    model.model = network
    # The older exporter cannot trace models of transformers 5.
    config = {"use_dynamo_exporter": True, "target_opset": _OPSET}
    run_pass("OnnxConversion", config, model, target)
    return target


def _ordered(names: Sequence[str], network: Any) -> list[str]:
    """Return the inputs in the order of the network's forward(): the exporter assigns the names by position."""
    parameters = list(inspect.signature(network.forward).parameters)
    if unknown := [name for name in names if name not in parameters]:
        raise JobError(
            f"{type(network).__name__} does not take {', '.join(unknown)}, which the tokenizer returns"
        )
    return sorted(names, key=parameters.index)
