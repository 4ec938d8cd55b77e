"""Mixed precision: an assignment as bits and group of MLX's matrices, and its comparison with config.json (worker
side).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.formats.safetensors import BITS, read_header
from edgehone.transform.precision import assign
from edgehone.transform.precision.assign import Assignment

_TYPE = re.compile(r"(\d+)-bit g(\d+)")
# Bytes per matrix that its scales, biases and bits take in config.json and in the safetensors header: 563 in the demo
# model.
_NAMES_BYTES = 576


def assigned_types(job: WorkerJob, floats: Path) -> Assignment:
    """Return the assignment that args["mix"] asks for, computed from inputs["sensitivity"] (see `assign.from_mix`)."""
    names = {f"{weight.name}.weight" for weight in assign.read(job.inputs["sensitivity"])}
    whole = sum(path.stat().st_size for path in floats.iterdir() if path.is_file())
    tensors = {name: one for path in floats.glob("*.safetensors") for name, one in read_header(path).items()}
    held = sum(tensors[name].elements * BITS[tensors[name].dtype] // 8 for name in names & set(tensors))
    return assign.from_mix(
        job.args["mix"], job.inputs["sensitivity"], whole - held + _NAMES_BYTES * len(names)
    )


def widths(assignment: Assignment) -> dict[str, list[int]]:
    """Return [bits, group] by matrix."""
    return {name: _numbers(option.type) for name, option in assignment.options.items()}


def facts(assignment: Assignment, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the assignment as the fact `mix`, with the matrices for which config.json says otherwise."""
    quantization = config["quantization"]
    written = {}
    for name in assignment.options:
        settings = quantization.get(name) if isinstance(quantization.get(name), Mapping) else quantization
        written[name] = f"{settings['bits']}-bit g{settings['group_size']}"
    return {"mix": {**assignment.facts(), "fallbacks": assign.fallbacks(assignment, written)}}


def _numbers(kind: str) -> list[int]:
    match = _TYPE.fullmatch(kind)
    assert match is not None, kind
    return [int(number) for number in match.groups()]
