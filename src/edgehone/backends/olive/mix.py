"""An assignment of precisions as overrides of Olive's passes, and what the ONNX graph then holds (worker side)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.transform.precision import assign
from edgehone.transform.precision.assign import Assignment

_TYPE = re.compile(r"(\d+) bits in blocks of (\d+)")
# Kinds of weights that the builder quantizes by its own options, so that no override reaches them.
_OWN = ("tied", "head", "embedding")
# What a matrix takes in the graph: its node, and the names of its parts.
_NODE_BYTES = 1024


def assigned(job: WorkerJob) -> Assignment:
    """Bits and block for each matrix: args["mix"] as `assign.asked`, inputs["sensitivity"]."""
    weights = assign.read(job.inputs["sensitivity"])
    folder: Path = job.inputs["model"]
    beside = [path for path in folder.iterdir() if path.is_file() and path.suffix in (".json", ".model")]
    rest = sum(path.stat().st_size for path in beside) + _NODE_BYTES * len(weights) + _floats(folder)
    return assign.asked(job.args["mix"], job.inputs["sensitivity"], rest)


def _floats(folder: Path) -> int:
    """Bytes of the tables of sines and cosines, a row for each position, half a head each, in float32."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    heads = int(config.get("num_attention_heads") or 1)
    head = int(config.get("head_dim") or config.get("hidden_size", 0) // heads)
    return 4 * int(config.get("max_position_embeddings") or 0) * head


def overrides(found: Assignment, job: WorkerJob) -> dict[str, dict[str, int]]:
    """Module → bits and group_size, of those that Olive's passes round."""
    kinds = {weight.name: weight.kind for weight in assign.read(job.inputs["sensitivity"])}
    made = {}
    for name, option in found.options.items():
        if kinds[name] not in _OWN and (numbers := _TYPE.fullmatch(option.type)):
            made[name] = {"bits": int(numbers[1]), "group_size": int(numbers[2])}
    return made


def facts(found: Assignment, nodes: Iterable[tuple[str, Mapping[str, int]]]) -> dict[str, Any]:
    """The assignment, and where the graph differs. `nodes`: names and integer attributes of its quantized ones."""
    written = {}
    places = {_place(name): name for name in found.options}
    for name, numbers in nodes:
        kind = f"{numbers['bits']} bits in blocks of {numbers['block_size']}"
        for place in _places(name):
            if place in places:
                written[places[place]] = kind
    return {"mix": {**found.facts(), "fallbacks": assign.fallbacks(found, written)}}


def _place(name: str) -> tuple[str, str]:
    """Block and last part of a module's name."""
    block = re.search(r"\.(\d+)\.", name)
    last = name.rpartition(".")[2]
    return (block[1] if block else "", {"embed_tokens": "lm_head", "wte": "lm_head"}.get(last, last))


def _places(node: str) -> list[tuple[str, str]]:
    """What a node of the builder computes: `/model/layers.0/attn/qkv_proj/MatMul` is three modules."""
    block = re.search(r"layers\.(\d+)/", node)
    parts = node.split("/")
    last = parts[-2] if len(parts) > 1 else node
    names = ("q_proj", "k_proj", "v_proj") if last == "qkv_proj" else (last,)
    return [(block[1] if block else "", name) for name in names]
