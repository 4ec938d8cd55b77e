"""Predict the memory and disk space of builds on this machine, before anything is built; their time is in `build_time`.

Builds that do not fit are refused with what would fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgehone.backends.base import Recipe
from edgehone.model.info import ModelInfo
from edgehone.plan import roofline, roofline_data
from edgehone.plan.build_time import converts, is_quantized_only, needs_checkpoint, quantized

# Most builds at a time, and the least bytes that a model counts for: a framework takes as much without one.
_AT_ONCE = 4
_LEAST_BYTES = 1 << 28


def memory(recipe: Recipe, model: ModelInfo) -> int:
    """Estimate the peak bytes of memory of a build that the system cannot free at will.

    A build that reads the model block by block holds two blocks in float32, the moments of a block's inputs in six
    copies for GPTQ and sensitivities, which are arithmetic of ours, and one matrix of the vocabulary. Others hold
    copies of the whole model in float32 (roofline.toml).
    """
    table = roofline_data.table()["building"]["memory"]
    known = table.get(recipe.backend, table["other"])
    parameters, hidden = model.parameters or 0, model.hidden_size or 0
    if not known["streams"] or not model.layers or not hidden or model.experts:
        copies = known.get("calibrated", known["copies"]) if recipe.calibrated else known["copies"]
        return int(known["fixed"] + copies * 4 * parameters)
    vocabulary = hidden * (model.vocabulary or 0)
    blocks = max(parameters - vocabulary, 0) / model.layers
    widest = max(hidden, model.intermediate_size or 0)
    # llama-imatrix maps the model and holds vectors only.
    ours = recipe.operations.keys() & {"gptq", "sensitivity"}
    calibrating = 2 * blocks + 6 * widest**2 if ours else 0.0
    return int(known["fixed"] + 4 * max(calibrating, vocabulary * known["copies"]))


@dataclass(frozen=True)
class Resources:
    """Bytes of memory and disk that building all recipes of a plan takes. `by_backend`: the bytes of disk."""

    memory: int
    disk: int
    by_backend: Mapping[str, int]


def resources(model: ModelInfo, recipes: Sequence[Recipe]) -> Resources:
    """Estimate what building the recipes takes.

    Memory: that of the build that takes most. Disk: for each backend a 16-bit copy of the original, every artifact, and
    every quantized file that only GPTQ or a draft starts from, once. A GGUF file is not copied: it is linked, or joined
    from the files of a split one. Where its blocks are run one by one, it has a checkpoint in float32, and meanwhile a
    file as large to compare that with.
    """
    parameters = model.parameters or 0
    disk: dict[str, int] = {}
    with_checkpoint: set[str] = set()
    # What is quantized without anything done to it afterwards is the artifact itself.
    known = {(one.backend, name) for one in recipes for name in quantized(one) if is_quantized_only(one)}
    for recipe in recipes:
        size = roofline.predicted_bytes(recipe, model)
        converted = converts(recipe.build)
        joined = model.bytes if len(model.files) > 1 else 0
        disk.setdefault(recipe.backend, 2 * parameters if converted else joined)
        if needs_checkpoint(recipe.build) and recipe.backend not in with_checkpoint:
            with_checkpoint.add(recipe.backend)
            disk[recipe.backend] += 2 * 4 * parameters
        if converted or not recipe.exact:
            disk[recipe.backend] += int(size.high or 2 * parameters)
        before = [(recipe.backend, name) for name in quantized(recipe)]
        # Of a model and its draft each counts as one half.
        share = sum(one not in known for one in before) / max(len(before), 1)
        disk[recipe.backend] += int(share * (size.high or 2 * parameters))
        known.update(before)
    most = max((memory(recipe, model) for recipe in recipes), default=0)
    return Resources(most, sum(disk.values()), disk)


def at_once(model: ModelInfo, threads: int, memory: int) -> int:
    """Return the number of builds that run at a time: at most 4 or the threads, and 3 models' memory for each."""
    return max(1, min(threads, _AT_ONCE, memory // (3 * max(model.bytes, _LEAST_BYTES))))


def together(model: ModelInfo, recipes: Sequence[Recipe], count: int) -> int:
    """Estimate the peak bytes of memory while `count` of the recipes are built at a time: those that take most.

    What takes memory in a build that streams the model and calculates nothing is the conversion, which is made once.
    """
    table = roofline_data.table()["building"]["memory"]
    order = sorted(recipes, key=lambda one: memory(one, model), reverse=True)
    beside = [
        one for one in order[1:] if one.operations or not table.get(one.backend, table["other"])["streams"]
    ]
    return sum(memory(one, model) for one in [*order[:1], *beside[: count - 1]])


def obstacles(needed: Resources, free_memory: int | None, free_disk: int | None) -> list[str]:
    """Return why this machine cannot build, with what would fit, or an empty list."""
    problems = []
    if free_memory is not None and needed.memory > free_memory:
        problems.append(
            f"building needs {_gb(needed.memory)} of memory, but only {_gb(free_memory)} are free: build on a machine "
            f"with more memory, give --memory {max(free_memory // 10**6, 1)}MB to leave out what needs more, or use a "
            "model that is already converted (GGUF)"
        )
    if free_disk is not None and needed.disk > free_disk:
        fitting = _fitting(needed.by_backend, free_disk)
        option = f"--backends {','.join(fitting)} would fit" if fitting else "no single backend would fit"
        problems.append(
            f"building needs {_gb(needed.disk)} of disk space, but only {_gb(free_disk)} are free: {option}; or set "
            "EDGEHONE_HOME to a folder on another disk"
        )
    return problems


def _fitting(disk: Mapping[str, int], free: int) -> list[str]:
    """Return as many backends, in order, as fit together."""
    fitting, remaining = [], free
    for backend, size in disk.items():
        if size <= remaining:
            fitting.append(backend)
            remaining -= size
    return fitting


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
