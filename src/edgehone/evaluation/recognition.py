"""Recognize the role of an output from its name, shape and type, the model's task, and the original's values."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgehone.evaluation.output_values import (
    SCORES,
    confidence_of,
    decides,
    distributions,
    largest_share,
    normalized,
    shape_text,
    sums_to_one,
    within_one,
)
from edgehone.evaluation.roles import OutputRole, class_axis
from edgehone.worker import detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_VECTOR = re.compile(r"embed|pool|feature|sentence|vector|hidden", re.IGNORECASE)
_MASK = re.compile(r"seg|mask|logit|class|prob", re.IGNORECASE)
# The mean of the largest softmax entry tells trained classifiers from embeddings: logits of a trained classifier are
# mostly confident, the coordinates of a normalized vector of 32 or more entries never are. Few entries are confident by
# chance, and numbers beyond those of logits are coordinates or quantities.
_CONFIDENT = 0.3
_FEW = 10
_FEW_CONFIDENT = 0.9
_LOGITS = 100.0
_FLAT = 0.1
_WIDE = 32
# CTC: an alphabet, and one class (the blank) that takes most steps.
_ALPHABET = 20
_BLANK_SHARE = 0.4


def recognized(name: str, array: Array, state: bool, task: str) -> OutputRole:
    """Return the role of [samples, …]; `state`: its name and an input's are those of a state."""
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
    return OutputRole(name, "unknown", f"its shape is {shape_text(array)}")


def _single(name: str, array: Array) -> OutputRole:
    if decides(name, array):
        return OutputRole(name, "binary", "one number between 0 and 1, mostly sure")
    if within_one(array):
        return OutputRole(name, "unknown", "one number between 0 and 1, often near the middle")
    if SCORES.search(name) and float(abs(array).max()) <= _LOGITS:
        return OutputRole(name, "binary", "one number, named as a score", as_numbers=True)
    return OutputRole(name, "numbers", "one number of any size")


def _table(name: str, array: Array, task: str) -> OutputRole:
    """Return the role of [samples, entries]."""
    if task == "feature-extraction" or _VECTOR.search(name):
        return OutputRole(name, "vector", "by the model's task or the output's name")
    if distributions(array):
        return OutputRole(name, "classes", "its entries are probabilities that add up to 1")
    if decides(name, array):
        return OutputRole(name, "labels", "its entries are between 0 and 1 and do not add up to 1")
    if SCORES.search(name) or task == "text-classification":
        return OutputRole(name, "classes", "by the model's task or the output's name")
    return _nameless_table(name, array)


def _nameless_table(name: str, array: Array) -> OutputRole:
    """Return the role of [samples, entries] by the entries alone."""
    confidence = confidence_of(array)
    enough = _CONFIDENT if array.shape[1] >= _FEW else _FEW_CONFIDENT
    if normalized(array):
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
    if array.shape[2] == 1 and decides(name, array):
        return OutputRole(name, "binary", "a number between 0 and 1 for each step", as_numbers=True)
    if distributions(array) or (SCORES.search(name) and array.shape[2] > 1):
        share = largest_share(array)
        if array.shape[2] >= _ALPHABET and share >= _BLANK_SHARE:
            return OutputRole(name, "ctc", f"one of {array.shape[2]} classes takes {share:.0%} of the steps")
        if distributions(array):
            return OutputRole(name, "steps", "scores of classes that add up to 1 for each step")
        return OutputRole(name, "steps", "scores of classes by the output's name", as_numbers=True)
    return OutputRole(name, "unknown", f"its shape is {shape_text(array)}")


def _picture(name: str, array: Array, task: str) -> OutputRole:
    """Return the role of [samples, channels, height, width], or with the channels last."""
    axis = class_axis(array)
    if array.shape[axis] == 1:
        if within_one(array) and _MASK.search(name):
            return OutputRole(name, "mask", "one channel between 0 and 1, named as a mask")
        return OutputRole(name, "numbers", "one channel of numbers")
    if sums_to_one(array, axis) or (_MASK.search(name) and array.shape[axis] > 3):
        return OutputRole(name, "mask", "scores of classes for each pixel")
    return OutputRole(name, "numbers", f"channels of numbers, {shape_text(array)}")
