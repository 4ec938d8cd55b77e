"""An assignment of precisions as bits and group of MLX's matrices, and what config.json then says (worker side)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.formats.safetensors import BITS, read_header
from edgehone.transform.precision import assign
from edgehone.transform.precision.assign import Assignment

_TYPE = re.compile(r"(\d+)-bit g(\d+)")
# What naming a matrix's scales, biases and bits takes in config.json and in the header of its file: 563 bytes in the
# demo model's.
_NAMES_BYTES = 576


def assigned(job: WorkerJob, floats: Path) -> Assignment:
    """Bits and group for each matrix: args["mix"] as `assign.asked`, inputs["sensitivity"]."""
    names = {f"{weight.name}.weight" for weight in assign.read(job.inputs["sensitivity"])}
    whole = sum(path.stat().st_size for path in floats.iterdir() if path.is_file())
    tensors = {name: one for path in floats.glob("*.safetensors") for name, one in read_header(path).items()}
    held = sum(tensors[name].elements * BITS[tensors[name].dtype] // 8 for name in names & set(tensors))
    return assign.asked(job.args["mix"], job.inputs["sensitivity"], whole - held + _NAMES_BYTES * len(names))


def own(assignment: Assignment) -> dict[str, list[int]]:
    """Matrix → [bits, group]."""
    return {name: _numbers(option.type) for name, option in assignment.options.items()}


def facts(assignment: Assignment, config: Mapping[str, Any]) -> dict[str, Any]:
    """The assignment, and where the configuration that was written says otherwise."""
    told = config["quantization"]
    written = {}
    for name in assignment.options:
        found = told.get(name) if isinstance(told.get(name), Mapping) else told
        written[name] = f"{found['bits']}-bit g{found['group_size']}"
    return {"mix": {**assignment.facts(), "fallbacks": assign.fallbacks(assignment, written)}}


def _numbers(kind: str) -> list[int]:
    found = _TYPE.fullmatch(kind)
    assert found is not None, kind
    return [int(number) for number in found.groups()]
