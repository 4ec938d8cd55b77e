"""Mixed precision: a type assigned to each tensor, as options of llama-quantize (worker side)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgehone.backends.llamacpp.tools import Toolchain
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.formats.gguf import Header, Tensor, read_header
from edgehone.transform.precision import assign
from edgehone.transform.precision.assign import Assignment, Option

# llama-quantize has separate options for these two tensors.
_OPTIONS = {"token_embd.weight": "--token-embedding-type", "output.weight": "--output-tensor-type"}


def assigned_types(job: WorkerJob, converted: Path) -> Assignment:
    """Assign a type to each tensor of the converted file, by its name there.

    args: mix (as for `assign.from_mix`). inputs: sensitivity. The file's other contents count towards its size. A
    tensor may keep the type that it has, which costs nothing, and gets none of more bits.
    """
    header = read_header(converted)
    name_of = names(Toolchain.at(job.toolchain), header)
    weights = assign.read(job.inputs["sensitivity"])
    stored = {
        one.name: header.tensors[name]
        for one in weights
        if (name := f"{name_of(one.name)}.weight") in header.tensors
    }
    fixed = converted.stat().st_size - sum(tensor.bytes for tensor in stored.values())
    own = {name: _as_it_is(tensor) for name, tensor in stored.items()}
    assignment = assign.from_mix(job.args["mix"], job.inputs["sensitivity"], fixed, own)
    named = {f"{name_of(name) or name}.weight": option for name, option in assignment.options.items()}
    return Assignment(named, assignment.bytes, assignment.bits, assignment.kl, assignment.gap)


def _as_it_is(tensor: Tensor) -> Option:
    """Return the option of leaving a tensor as it is."""
    kind = tensor.type
    return Option(kind.name.lower(), assign.FLOAT_BITS, 0, 8 * kind.bytes / kind.block, kind.block)


def options(assignment: Assignment) -> list[str]:
    """Return the assignment as options of llama-quantize."""
    arguments = []
    for name, option in assignment.options.items():
        arguments += (
            [_OPTIONS[name], option.type]
            if name in _OPTIONS
            else ["--tensor-type", f"^{re.escape(name)}$={option.type}"]
        )
    return arguments


def facts(assignment: Assignment, path: Path) -> dict[str, Any]:
    """Return the assignment, and the tensors that have another type in the file."""
    written = read_header(path).types
    return {"mix": {**assignment.facts(), "fallbacks": assign.fallbacks(assignment, written)}}


def names(chain: Toolchain, header: Header) -> Callable[[str], str | None]:
    """Return a function from a checkpoint's module names to GGUF tensor names, by llama.cpp's own table."""
    sys.path.insert(0, str(chain.convert().parent / "gguf-py"))
    import gguf

    architecture = header.values["general.architecture"]
    blocks = int(header.values[f"{architecture}.block_count"])
    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    table = gguf.get_tensor_name_map(kind, blocks)
    found: Callable[[str], str | None] = table.get_name
    return found
