"""The role of each output of a graph: what its values decide. It is recognized, or given by `--task-kind`.

A role is recognized from the output's name, shape and type, the model's task, the labels, and the original's values on
the samples. Each role has a measure of agreement of its own (`evaluation.decisions`), so that large values of one
output cannot hide the loss of another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.evaluation.metrics import threshold
from edgehone.worker import detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Outputs = Mapping[str, Array]

Role = Literal[
    "classes",
    "labels",
    "binary",
    "steps",
    "ctc",
    "vector",
    "detections",
    "mask",
    "numbers",
    "state",
    "ids",
    "unknown",
]

# Roles whose entries have one scale: scores of classes, coordinates of a vector.
ONE_SCALE: tuple[Role, ...] = ("classes", "labels", "binary", "steps", "ctc", "vector", "mask", "ids")

# The values of --task-kind, and the role of the outputs that can have it.
TASK_KINDS: Mapping[str, Role] = {
    "classification": "classes",
    "multi-label": "labels",
    "binary": "binary",
    "audio-decisions": "binary",
    "token-classification": "steps",
    "ctc": "ctc",
    "embedding": "vector",
    "detection": "detections",
    "segmentation": "mask",
    "regression": "numbers",
    "unknown": "unknown",
}

MEANINGS: Mapping[Role, str] = {
    "classes": "one class: the largest score",
    "labels": "several labels: each score against its threshold",
    "binary": "a decision: the score against its threshold",
    "steps": "a class for each step: the largest score of each",
    "ctc": "a text by CTC: the largest score of each step, repeats and blanks removed",
    "vector": "an embedding: cosine, and the nearest neighbour among the samples",
    "detections": "boxes with scores: matched boxes of the same class",
    "mask": "a class for each pixel: intersection over union",
    "numbers": "numbers: the share of their variance that is explained",
    "state": "a state that is fed back: the share of its variance that is explained",
    "ids": "whole numbers: equal ones",
    "unknown": "not recognized: relative error and equal decisions (largest entry, sign), the worst counts",
}

_STATE = re.compile(
    r"state|hidden|cell|present|past|cache|memory|^h_?n?$|^c_?n?$|^h[01]|^c[01]", re.IGNORECASE
)
_VECTOR = re.compile(r"embed|pool|feature|sentence|vector|hidden", re.IGNORECASE)
_SCORES = re.compile(r"logit|prob|score|class|label|softmax", re.IGNORECASE)
_MASK = re.compile(r"seg|mask|logit|class|prob", re.IGNORECASE)

# Samples that recognition looks at.
_SAMPLES = 64
# The mean of the largest softmax entry tells trained classifiers from embeddings: logits of a trained classifier are
# mostly confident, the coordinates of a normalized vector of 32 or more entries never are. Few entries are confident by
# chance, and numbers beyond those of logits are coordinates or quantities.
_CONFIDENT = 0.3
_FEW = 10
_FEW_CONFIDENT = 0.9
_LOGITS = 100.0
_FLAT = 0.1
_WIDE = 32
# Probabilities of decisions are mostly sure: at least this share lies further than this from one half. Numbers between
# 0 and 1 that are not may be coordinates.
_SURE = 0.3
_SURE_SHARE = 0.6
# CTC: an alphabet, and one class (the blank) that takes most steps.
_ALPHABET = 20
_BLANK_SHARE = 0.4


@dataclass(frozen=True)
class OutputRole:
    """The role of the output `name`, and why it was assumed. `layout` locates boxes and scores of detections.

    `as_numbers`: the variance that is explained is judged too, since the role is a guess by the values, or the original
    decides the same on every sample, so that the agreement of decisions shows nothing.
    """

    name: str
    role: Role
    why: str
    layout: detections.Layout | None = None
    as_numbers: bool = False

    def sentence(self) -> str:
        """Return the assumption as a sentence for the report."""
        return f"the output {self.name!r} is judged as {MEANINGS[self.role]} ({self.why})"


def check(kind: str | None) -> None:
    """Raise InputError for an unknown task kind."""
    if kind is not None and kind not in TASK_KINDS:
        guess = suggest(kind, TASK_KINDS, "")
        raise InputError(
            f"unknown task kind {kind!r}" + (f"; {guess}" if guess else ""),
            hint=f"--task-kind is one of {', '.join(TASK_KINDS)}",
        )


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
    ModelInfo.task, `kind` the user's --task-kind, or what `told_by` implies. Boxes and scores in separate outputs share
    one role. Raises InputError if no output can have the role that `kind` names.
    """
    heads = {name: _head(array) for name, array in outputs.items() if array.size}
    pair = detections.separate(heads) if kind in (None, "detection") else None
    roles = []
    for name, array in heads.items():
        if pair is not None and name in pair.names:
            if name == pair.boxes:
                roles.append(
                    OutputRole(name, "detections", "boxes and scores by their names and shapes", pair)
                )
            continue
        roles.append(_recognized(name, array, _feeds_back(name, inputs, len(heads)), task))
    if kind is not None:
        return _told(tuple(roles), heads, kind, told_by)
    return tuple(replace(one, as_numbers=one.as_numbers or _always_same(one, outputs)) for one in roles)


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


def _recognized(name: str, array: Array, state: bool, task: str) -> OutputRole:
    if array.dtype.kind in "iu" and array.ndim == 4 and array.dtype.itemsize == 1:
        return OutputRole(name, "numbers", f"pictures of {array.dtype}")
    if array.dtype.kind in "biu":
        return OutputRole(name, "ids", f"its type is {array.dtype}")
    if state:
        return OutputRole(name, "state", "its name and that of an input are those of a state")
    if array.size == len(array):
        return _single(name, array)
    recognizers: dict[int, Callable[[str, Array, str], OutputRole]] = {2: _table, 3: _sequence, 4: _picture}
    if array.ndim in recognizers:
        return recognizers[array.ndim](name, array, task)
    return OutputRole(name, "unknown", f"its shape is {_shape(array)}")


def _single(name: str, array: Array) -> OutputRole:
    if _decides(name, array):
        return OutputRole(name, "binary", "one number between 0 and 1, mostly sure")
    if _unit(array):
        return OutputRole(name, "unknown", "one number between 0 and 1, often near the middle")
    if _SCORES.search(name) and float(abs(array).max()) <= _LOGITS:
        return OutputRole(name, "binary", "one number, named as a score", as_numbers=True)
    return OutputRole(name, "numbers", "one number of any size")


def _table(name: str, array: Array, task: str) -> OutputRole:
    """Return the role of [samples, entries]."""
    if task == "feature-extraction" or _VECTOR.search(name):
        return OutputRole(name, "vector", "by the model's task or the output's name")
    if _distributions(array):
        return OutputRole(name, "classes", "its entries are probabilities that add up to 1")
    if _decides(name, array):
        return OutputRole(name, "labels", "its entries are between 0 and 1 and do not add up to 1")
    if _SCORES.search(name) or task == "text-classification":
        return OutputRole(name, "classes", "by the model's task or the output's name")
    return _nameless_table(name, array)


def _nameless_table(name: str, array: Array) -> OutputRole:
    """Return the role of [samples, entries] by the entries alone."""
    confidence = _confidence(array)
    enough = _CONFIDENT if array.shape[1] >= _FEW else _FEW_CONFIDENT
    if _normalized(array):
        return OutputRole(name, "vector", "its vectors have length 1")
    if confidence >= enough and float(abs(array).max()) <= _LOGITS:
        why = f"one entry stands out (softmax {confidence:.2f} on average)"
        return OutputRole(name, "classes", why, as_numbers=True)
    if array.shape[1] >= _WIDE and confidence <= _FLAT:
        return OutputRole(name, "vector", f"no entry stands out (softmax {confidence:.2f} on average)")
    return OutputRole(name, "unknown", f"{array.shape[1]} numbers of any size")


def _sequence(name: str, array: Array, task: str) -> OutputRole:
    """Return the role of [samples, a, b]."""
    layout = detections.joint(name, array)
    if layout is not None:
        return OutputRole(name, "detections", layout.why, layout)
    if array.shape[2] == 1 and _decides(name, array):
        return OutputRole(name, "binary", "a number between 0 and 1 for each step", as_numbers=True)
    if _distributions(array) or (_SCORES.search(name) and array.shape[2] > 1):
        share = _largest_share(array)
        if array.shape[2] >= _ALPHABET and share >= _BLANK_SHARE:
            return OutputRole(name, "ctc", f"one of {array.shape[2]} classes takes {share:.0%} of the steps")
        if _distributions(array):
            return OutputRole(name, "steps", "scores of classes that add up to 1 for each step")
        return OutputRole(name, "steps", "scores of classes by the output's name", as_numbers=True)
    return OutputRole(name, "unknown", f"its shape is {_shape(array)}")


def _picture(name: str, array: Array, task: str) -> OutputRole:
    """Return the role of [samples, channels, height, width], or with the channels last."""
    axis = class_axis(array)
    if array.shape[axis] == 1:
        if _unit(array) and _MASK.search(name):
            return OutputRole(name, "mask", "one channel between 0 and 1, named as a mask")
        return OutputRole(name, "numbers", "one channel of numbers")
    if _sums_to_one(array, axis) or (_MASK.search(name) and array.shape[axis] > 3):
        return OutputRole(name, "mask", "scores of classes for each pixel")
    return OutputRole(name, "numbers", f"channels of numbers, {_shape(array)}")


def class_axis(array: Array) -> int:
    """Return the axis of a picture's channels, 1 or 3: the smaller one."""
    return 1 if array.shape[1] <= array.shape[3] else 3


def _told(roles: tuple[OutputRole, ...], heads: Outputs, kind: str, told_by: str) -> tuple[OutputRole, ...]:
    """Give the role of `kind` to every output that can have it; states and whole numbers keep theirs."""
    role = TASK_KINDS[kind]
    changed = []
    for one in roles:
        layout = one.layout or (
            detections.joint(one.name, heads[one.name], told=True) if role == "detections" else None
        )
        fits = one.role not in ("state", "ids") and _possible(role, heads[one.name], layout)
        changed.append(OutputRole(one.name, role, f"by {told_by}", layout) if fits else one)
    if not any(one.role == role for one in changed):
        shapes = ", ".join(f"{name} {_shape(array)}" for name, array in heads.items())
        raise InputError(
            f"{told_by} ({kind}): no output can be judged as {MEANINGS[role]}: {shapes}",
            hint="leave --task-kind out to have the roles of the outputs recognized",
        )
    return tuple(changed)


def _possible(role: Role, array: Array, layout: detections.Layout | None) -> bool:
    several = array.ndim > 1 and array.shape[-1] > 1
    if role == "detections":
        return layout is not None
    if role == "mask":
        return array.ndim == 4
    if role in ("steps", "ctc"):
        return array.ndim == 3 and several
    if role in ("classes", "vector"):
        return array.ndim == 2 and several
    return role != "labels" or several


def _unit(array: Array) -> bool:
    return bool(array.size) and bool((array >= 0).all()) and bool((array <= 1).all()) and bool(array.any())


def _decides(name: str, array: Array) -> bool:
    sure = float((abs(array - 0.5) >= _SURE).mean())
    return _unit(array) and (sure >= _SURE_SHARE or bool(_SCORES.search(name)))


def _distributions(array: Array) -> bool:
    return array.shape[-1] > 1 and _sums_to_one(array, -1)


def _sums_to_one(array: Array, axis: int) -> bool:
    import numpy as np

    return bool((array >= 0).all()) and bool(np.allclose(array.sum(axis, dtype=np.float64), 1.0, atol=1e-2))


def _normalized(array: Array) -> bool:
    import numpy as np

    return bool(np.allclose(np.linalg.norm(array.astype(np.float64), axis=1), 1.0, atol=1e-2))


def _confidence(array: Array) -> float:
    import numpy as np

    shifted = np.exp(array.astype(np.float64) - array.max(1, keepdims=True))
    return float((shifted.max(1) / shifted.sum(1)).mean())


def _largest_share(array: Array) -> float:
    import numpy as np

    picked = array.argmax(-1).ravel()
    return float(np.bincount(picked).max() / picked.size)


def _shape(array: Array) -> str:
    return "[" + ", ".join(["samples", *(str(size) for size in array.shape[1:])]) + "]"
