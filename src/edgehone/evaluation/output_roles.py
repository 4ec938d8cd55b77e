"""Assign a role to each output of a graph: recognized, or given by `--task-kind`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError
from edgehone.evaluation import nameless_boxes, sounds
from edgehone.evaluation.metrics import threshold
from edgehone.evaluation.output_values import shape_text
from edgehone.evaluation.recognition import recognized
from edgehone.evaluation.roles import MEANINGS, TASK_KINDS, OutputRole, Role, with_sizes
from edgehone.inputs.output_sizes import sized_output, sizes_name
from edgehone.worker import detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Outputs = Mapping[str, Array]

_STATE = re.compile(
    r"state|hidden|cell|present|past|cache|memory|^h_?n?$|^c_?n?$|^h[01]|^c[01]", re.IGNORECASE
)
_SOUND = re.compile(r"audio|wav|sound|speech|pcm", re.IGNORECASE)
_COUNT = re.compile(r"num|count|valid", re.IGNORECASE)
# Samples that recognition looks at.
_SAMPLES = 64


def recognize(
    outputs: Outputs,
    *,
    inputs: Sequence[str] = (),
    task: str = "graph",
    kind: str | None = None,
    told_by: str = "--task-kind",
) -> tuple[OutputRole, ...]:
    """Return the role of each output, in their order.

    `outputs` are the original's [samples, …] by name, `inputs` the names of the model's inputs, `task` is
    ModelInfo.task, `kind` the user's --task-kind, or what `told_by` implies. Boxes and scores in separate outputs, by
    their names or else by their values, share one role. Raises InputError if no output can have the role that `kind`
    names.
    """
    heads = {name: _head(array) for name, array in outputs.items() if array.size and not sized_output(name)}
    unequal = {name for name in heads if sizes_name(name) in outputs}
    pair = _boxes(heads, unequal, kind)
    counts = [nameless_boxes.count_of(heads, pair)] if pair is not None and pair.guessed else []
    roles = []
    for name, array in heads.items():
        if pair is not None and name in pair.names:
            if name == pair.boxes:
                roles.append(OutputRole(name, "detections", pair.why, pair))
            continue
        if pair is not None and _COUNT.search(name) and array.size == len(array):
            roles.append(OutputRole(name, "size", "the number of boxes by its name"))
            continue
        if name in counts:
            roles.append(OutputRole(name, "size", "a guess by its values: the number of boxes"))
            continue
        roles.append(
            _sound(name, array, name in unequal)
            or recognized(name, array, _feeds_back(name, inputs, len(heads)), task)
        )
    if kind is not None:
        found = _told(tuple(roles), heads, kind, told_by)
    else:
        found = tuple(replace(one, as_numbers=one.as_numbers or _always_same(one, outputs)) for one in roles)
    return with_sizes(found, outputs)


def _boxes(heads: Outputs, unequal: set[str], kind: str | None) -> detections.Layout | None:
    """Return where boxes are by the names of the outputs, else by a guess; None unless they may be judged as boxes."""
    if kind not in (None, "detection"):
        return None
    return detections.separate(heads, unequal) or nameless_boxes.guess(heads, unequal, kind is not None)


def _sound(name: str, array: Array, unequal: bool) -> OutputRole | None:
    """Return the role of a sound: one long row of numbers of both signs, by its name or since its length differs."""
    row = array.size // len(array)
    numbers = array.dtype.kind == "f" or str(array.dtype) == "int16"
    if not numbers or max(array.shape[1:], default=0) != row or row < sounds.LEAST:
        return None
    if not (unequal or _SOUND.search(name)) or not (array < 0).any() or not (array > 0).any():
        return None
    return OutputRole(name, "sound", "its length differs by sample" if unequal else "by the output's name")


def _always_same(one: OutputRole, outputs: Outputs) -> bool:
    """Return True if the original decides the same on every sample."""
    import numpy as np

    if one.role in ("classes", "steps"):
        return len(np.unique(outputs[one.name].argmax(-1))) == 1
    if one.role in ("binary", "labels"):
        above = outputs[one.name] >= threshold(outputs[one.name])
        return bool(above.all()) or not bool(above.any())
    if one.role == "detections" and one.layout is not None:
        count = len(outputs[one.layout.boxes])
        return not any(
            (detections.find(outputs, one.layout, i)[1] >= detections.THRESHOLD).any() for i in range(count)
        )
    return False


def _head(array: Array) -> Array:
    return array[:_SAMPLES]


def _feeds_back(name: str, inputs: Sequence[str], outputs: int) -> bool:
    return outputs > 1 and bool(_STATE.search(name)) and any(_STATE.search(one) for one in inputs)


def _told(roles: tuple[OutputRole, ...], heads: Outputs, kind: str, told_by: str) -> tuple[OutputRole, ...]:
    """Give the role of `kind` to every output that can have it; states and whole numbers keep theirs."""
    role = TASK_KINDS[kind]
    changed = []
    for one in roles:
        layout = one.layout or (
            detections.joint(one.name, heads[one.name], told=True) if role == "detections" else None
        )
        kept = ("state", "size") if role == "sound" else ("state", "ids", "size")
        fits = one.role not in kept and _possible(role, heads[one.name], layout)
        changed.append(OutputRole(one.name, role, f"by {told_by}", layout) if fits else one)
    if not any(one.role == role for one in changed):
        shapes = ", ".join(f"{name} {shape_text(array)}" for name, array in heads.items())
        raise InputError(
            f"{told_by} ({kind}): no output can be judged as {MEANINGS[role]}: {shapes}",
            hint="leave --task-kind out to have the roles of the outputs recognized",
        )
    return tuple(changed)


def _possible(role: Role, array: Array, layout: detections.Layout | None) -> bool:
    several = array.ndim > 1 and array.shape[-1] > 1
    if role == "detections":
        return layout is not None
    if role == "sound":
        return sounds.LEAST <= array.size // len(array) == max(array.shape[1:], default=0)
    if role == "mask":
        return array.ndim == 4
    if role in ("steps", "ctc"):
        return array.ndim == 3 and several
    if role in ("classes", "vector"):
        return array.ndim == 2 and several
    return role != "labels" or several
