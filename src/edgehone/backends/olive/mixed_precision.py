"""Mixed precision: an assignment as overrides of Olive's passes, and its comparison with the graph (worker side)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.transform.precision import assign
from edgehone.transform.precision.assign import Assignment

_TYPE = re.compile(r"(\d+) bits in blocks of (\d+)")
# Kinds of weights that the builder quantizes by its own options, unaffected by overrides.
_BUILDER_KINDS = ("tied", "head", "embedding")
# Bytes per matrix for its node in the graph and the names of its tensors.
_NODE_BYTES = 1024


def assigned_types(job: WorkerJob) -> Assignment:
    """Return the assignment that args["mix"] asks for, computed from inputs["sensitivity"] (see `assign.from_mix`)."""
    weights = assign.read(job.inputs["sensitivity"])
    folder: Path = job.inputs["model"]
    others = [path for path in folder.iterdir() if path.is_file() and path.suffix in (".json", ".model")]
    rest = sum(path.stat().st_size for path in others) + _NODE_BYTES * len(weights) + _rotary_bytes(folder)
    return assign.from_mix(job.args["mix"], job.inputs["sensitivity"], rest)


def _rotary_bytes(folder: Path) -> int:
    """Return the bytes of the sine and cosine tables: a float32 row of half a head for each position, in each table."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    heads = int(config.get("num_attention_heads") or 1)
    head = int(config.get("head_dim") or config.get("hidden_size", 0) // heads)
    return 4 * int(config.get("max_position_embeddings") or 0) * head


def overrides(assignment: Assignment, job: WorkerJob) -> dict[str, dict[str, int]]:
    """Return bits and group_size by module, for the modules that Olive's passes quantize."""
    kinds = {weight.name: weight.kind for weight in assign.read(job.inputs["sensitivity"])}
    overridden = {}
    for name, option in assignment.options.items():
        if kinds[name] not in _BUILDER_KINDS and (match := _TYPE.fullmatch(option.type)):
            overridden[name] = {"bits": int(match[1]), "group_size": int(match[2])}
    return overridden


def facts(assignment: Assignment, nodes: Iterable[tuple[str, Mapping[str, int]]]) -> dict[str, Any]:
    """Return the assignment as the fact `mix`, with the modules for which the graph differs.

    `nodes` holds names and integer attributes of the graph's quantized nodes.
    """
    written = {}
    names_by_position = {_position(name): name for name in assignment.options}
    for name, numbers in nodes:
        kind = f"{numbers['bits']} bits in blocks of {numbers['block_size']}"
        for position in _node_positions(name):
            if position in names_by_position:
                written[names_by_position[position]] = kind
    return {"mix": {**assignment.facts(), "fallbacks": assign.fallbacks(assignment, written)}}


def _position(name: str) -> tuple[str, str]:
    """Return the block number and the last part of a module's name."""
    block = re.search(r"\.(\d+)\.", name)
    last = name.rpartition(".")[2]
    return (block[1] if block else "", {"embed_tokens": "lm_head", "wte": "lm_head"}.get(last, last))


def _node_positions(node: str) -> list[tuple[str, str]]:
    """Return the positions of the modules that a node computes; `/model/layers.0/attn/qkv_proj/MatMul` has three."""
    block = re.search(r"layers\.(\d+)/", node)
    parts = node.split("/")
    last = parts[-2] if len(parts) > 1 else node
    names = ("q_proj", "k_proj", "v_proj") if last == "qkv_proj" else (last,)
    return [(block[1] if block else "", name) for name in names]
