"""config.pbtxt of a model in Triton's repository, in protobuf's text format (`inference.ModelConfig`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgehone.formats.graph import Tensor
from edgehone.serve.infer.tensor import DATATYPES

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
# Triton's ONNX Runtime backend: -1 basic, 1 extended, 2 none; all of them without a level.
_LEVELS = {"basic": -1, "extended": 1, "disabled": 2}
_IDLE_MICROSECONDS = 60_000_000
_SEQUENCES = 1024


@dataclass(frozen=True)
class Served:
    """A graph as Triton serves it.

    `graph` is the name of its file. `batch` is the most samples of a batch, 0 if a sample's outputs depend on the
    others; with `joins`, requests become batches. `states` maps inputs to the outputs that become their values in
    the next request of a sequence.
    """

    name: str
    backend: str
    graph: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    batch: int
    joins: bool
    delay: int  # microseconds that a request waits for others
    instances: int
    accelerator: str
    precision: str  # of TensorRT: FP32, FP16 or INT8
    states: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def text(one: Served) -> str:
    """Return the configuration."""
    fed_back = set(one.states.values())
    parts = [
        f"name: {_quoted(one.name)}",
        f"backend: {_quoted(one.backend)}",
        f"max_batch_size: {one.batch}",
        *(_tensor("input", port, one.batch) for port in one.inputs if port.name not in one.states),
        *(_tensor("output", port, one.batch) for port in one.outputs if port.name not in fed_back),
        _instances(one),
    ]
    if one.batch and one.joins:
        parts.append(f"dynamic_batching {{\n  max_queue_delay_microseconds: {one.delay}\n}}")
    if one.states:
        parts.append(_sequences(one))
    parts += _of_python(one) if one.backend == "python" else _of_onnxruntime(one)
    return "\n".join(parts) + "\n"


def _quoted(value: str) -> str:
    # JSON's escapes are escapes of protobuf's text format too, as long as the text is ASCII or UTF-8.
    return json.dumps(value, ensure_ascii=False)


def dims(port: Tensor, batch: int) -> list[int]:
    """Return the sizes that a request states for a tensor, less the axis of the samples if requests are joined."""
    shape = port.shape[1:] if batch else port.shape
    return [size if isinstance(size, int) else -1 for size in shape]


def _tensor(what: str, port: Tensor, batch: int) -> str:
    sizes = dims(port, batch)
    lines = [f"name: {_quoted(port.name)}", f"data_type: TYPE_{DATATYPES[port.dtype]}"]
    # Triton has no tensors without dimensions.
    lines += [f"dims: {sizes or [1]}"] + ([] if sizes else ["reshape { shape: [ ] }"])
    return _block(f"{what}", lines)


def _block(name: str, lines: Sequence[str]) -> str:
    return f"{name} {{\n" + "\n".join(f"  {line}" for part in lines for line in part.split("\n")) + "\n}"


def _instances(one: Served) -> str:
    if one.accelerator == "cpu":
        return _block("instance_group", [f"count: {one.instances}", "kind: KIND_CPU"])
    # Without numbers of GPUs each GPU gets so many.
    return _block("instance_group", [f"count: {one.instances}", "kind: KIND_GPU"])


def _sequences(one: Served) -> str:
    """Return how sequences are batched; Triton's ONNX Runtime backend keeps the states, or model.py does."""
    lines = [f"max_sequence_idle_microseconds: {_IDLE_MICROSECONDS}"]
    lines.append(_block("oldest", [f"max_candidate_sequences: {_SEQUENCES}"]))
    ports = {port.name: port for port in one.inputs}
    for source, target in one.states.items() if one.backend != "python" else ():
        kind = f"data_type: TYPE_{DATATYPES[ports[source].dtype]}"
        sizes = [size if isinstance(size, int) else 1 for size in ports[source].shape]
        zero = _block("initial_state", ['name: "zeros"', kind, f"dims: {sizes}", "zero_data: true"])
        names = [f"input_name: {_quoted(source)}", f"output_name: {_quoted(target)}"]
        lines.append(_block("state", [*names, kind, f"dims: {sizes}", zero]))
    return _block("sequence_batching", lines)


def _parameter(name: str, value: str) -> str:
    return f"parameters {{\n  key: {_quoted(name)}\n  value {{ string_value: {_quoted(value)} }}\n}}"


def _of_python(one: Served) -> list[str]:
    told = {
        "graph": one.graph,
        "provider": PROVIDERS[one.accelerator],
        "settings": json.dumps(dict(one.settings), sort_keys=True),
        "states": json.dumps(dict(one.states), sort_keys=True),
    }
    return [_parameter(*both) for both in told.items()]


def _of_onnxruntime(one: Served) -> list[str]:
    parts = [f"default_model_filename: {_quoted(one.graph)}"]
    settings = one.settings
    for name, key in (
        ("intra_op_threads", "intra_op_thread_count"),
        ("inter_op_threads", "inter_op_thread_count"),
    ):
        if name in settings:
            parts.append(_parameter(key, str(settings[name])))
    branching = int(settings.get("inter_op_threads", 1)) > 1
    if settings.get("execution_mode", "parallel" if branching else "sequential") == "parallel":
        parts.append(_parameter("execution_mode", "1"))
    level = _LEVELS.get(settings.get("graph_optimization", "all"))
    inner = [] if level is None else [f"graph {{ level: {level} }}"]
    if one.accelerator == "tensorrt":
        told = {"precision_mode": one.precision, "max_workspace_size_bytes": "1073741824"}
        rows = ['name: "tensorrt"']
        rows += [
            f"parameters {{ key: {_quoted(key)} value: {_quoted(value)} }}" for key, value in told.items()
        ]
        inner.append(_block("execution_accelerators", [_block("gpu_execution_accelerator", rows)]))
    return parts + ([_block("optimization", inner)] if inner else [])
