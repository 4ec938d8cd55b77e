"""Metrics that compare a graph's outputs with labels, by name.

accuracy, top1 … top100   labels are classes, an output has a score for each; accuracy also of one score: labels 0 and 1
mse, rmse                 labels are numbers, lower is better
cosine                    labels are vectors
MODULE:FUNCTION           a user's function: (outputs by name, labels) -> number, higher is better

Computed by libraries in an environment of their own (`evaluation.by_library`):

f1                        macro F1 of classes or of labels that are set
auroc, average_precision  labels are classes, or 0 and 1; the mean over the classes
ndcg                      labels are groups (those of a sample's group are to be the nearest), or relevances
spearman                  labels are numbers; for pairs of texts the cosine of their vectors is ranked
iou                       labels are the class of each pixel
map                       labels are boxes: class, x1, y1, x2, y2, padded with class -1 (COCO's mean average precision)
cer, wer                  labels are texts, or classes padded with -1, of a CTC head; lower is better
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Outputs = Mapping[str, Array]

LIBRARY = ("f1", "auroc", "average_precision", "ndcg", "spearman", "iou", "map", "cer", "wer")
NAMES = ("accuracy", "top5", "mse", "rmse", "cosine", *LIBRARY)
_TOP = re.compile(r"top([1-9]\d{0,2})")
_SIGNATURE = (
    "it is called with the outputs (arrays by name) and the labels, and must return one finite number"
)


@dataclass(frozen=True)
class Metric:
    """A metric.

    `rows` returns one value per sample, whose mean is the metric; without it `whole` returns the metric. A metric that
    has neither is computed by a library.
    """

    name: str
    unit: str
    higher_is_better: bool
    rows: Callable[[Outputs, Array], Array] | None = None
    whole: Callable[[Outputs, Array], float] | None = None


def find(name: str) -> Metric:
    """Return the metric of that name. Raises InputError for an unknown name or a function that cannot be loaded."""
    if ":" in name:
        return Metric(name, "", True, whole=_user_function(name))
    if name == "accuracy" or _TOP.fullmatch(name):
        top = 1 if name == "accuracy" else int(name[3:])
        return Metric(name, "share", True, rows=lambda outputs, labels: _top(outputs, labels, top))
    table = {
        "mse": Metric("mse", "", False, rows=_squared),
        "rmse": Metric("rmse", "", False, whole=_root_of_squares),
        "cosine": Metric("cosine", "", True, rows=_cosine),
        **{one: Metric(one, "share", one not in ("cer", "wer")) for one in LIBRARY},
    }
    if name not in table:
        guess = suggest(name, NAMES, "")
        raise InputError(
            f"unknown metric {name!r}" + (f"; {guess}" if guess else ""),
            hint=f"one of {', '.join(NAMES)}, or MODULE:FUNCTION",
        )
    return table[name]


def default(labels: Array, task: str = "graph") -> str:
    """Return the usual metric for labels of this type and shape, of a model of that ModelInfo.task."""
    if labels.ndim == 3 and labels.shape[2] == 5:
        return "map"
    if task == "feature-extraction" and labels.dtype.kind in "iu" and labels.ndim == 1:
        return "ndcg"
    if labels.dtype.kind == "U":
        return "cer"
    return "accuracy" if labels.dtype.kind in "iub" and labels.ndim == 1 else "mse"


def classes(outputs: Outputs) -> Array | None:
    """Return the first output with a score for each of several classes, float [samples, classes], or None."""
    for array in outputs.values():
        if array.dtype.kind == "f" and array.ndim == 2 and array.shape[1] > 1:
            return array
    return None


def of_classes(name: str) -> bool:
    """Return True if the metric compares classes, so that labels are class numbers."""
    return name == "accuracy" or bool(_TOP.fullmatch(name))


def check_labels(name: str, outputs: Outputs, labels: Array) -> None:
    """Raise InputError for labels that the metric does not accept, or classes out of range."""
    if not of_classes(name):
        return
    single = name in ("accuracy", "top1") and single_score(outputs) is not None
    count = 2 if single else _scores(outputs).shape[1]
    if labels.dtype.kind not in "iub" or labels.ndim != 1:
        raise InputError(
            f"{name} needs integer labels, not {labels.dtype} {list(labels.shape)}",
            hint="number the classes from 0, in the order of the model's outputs, or give another --metric",
        )
    if name.startswith("top") and int(name[3:]) >= count:
        raise InputError(
            f"--metric {name}: the model has {count} classes, so every label is among the best {name[3:]}",
            hint=f"give a number below {count}",
        )
    bad = labels[(labels < 0) | (labels >= count)]
    if bad.size:
        raise InputError(
            f"the label {bad[0]} is out of range: the model has {count} classes",
            hint=f"labels are 0 to {count - 1}",
        )


def single_score(outputs: Outputs) -> Array | None:
    """Return the first output with one score per sample, [samples]; None if an output has one for each class."""
    if classes(outputs) is not None:
        return None
    for array in outputs.values():
        if array.dtype.kind == "f" and array.size == len(array):
            return array.reshape(-1)
    return None


def threshold(scores: Array) -> float:
    """Return the decision threshold: 0.5 of probabilities, 0 of scores of both signs."""
    return 0.0 if bool((scores < 0).any()) or bool((scores > 1).any()) else 0.5


def _scores(outputs: Outputs) -> Array:
    scores = classes(outputs)
    if scores is None:
        raise InputError(
            f"no output has a score for each class: {_shapes(outputs)}", hint="give another --metric"
        )
    return scores


def _shapes(outputs: Outputs) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())


def _numbers(outputs: Outputs, labels: Array) -> Array:
    """Return the first float output that has as many numbers as the labels, in their shape."""
    for array in outputs.values():
        if array.dtype.kind == "f" and array.size == labels.size:
            numbers: Array = array.reshape(labels.shape)
            return numbers
    raise InputError(
        f"no output has the labels' shape {list(labels.shape)}: {_shapes(outputs)}",
        hint="give integer labels for classes, labels of the shape of an output, or another --metric",
    )


def _top(outputs: Outputs, labels: Array, count: int) -> Array:
    import numpy as np

    if count == 1 and (single := single_score(outputs)) is not None:
        decided: Array = ((single >= threshold(single)) == labels.astype(bool)).astype(np.float64)
        return decided
    scores = _scores(outputs)
    correct = np.take_along_axis(scores, labels[:, None].astype(np.int64), 1)
    # Equal scores count against the label, so that a constant output is never correct.
    hits: Array = ((scores >= correct).sum(1) <= count).astype(np.float64)
    return hits


def _squared(outputs: Outputs, labels: Array) -> Array:
    errors = _numbers(outputs, labels).astype("float64") - labels
    squares: Array = (errors**2).reshape(len(labels), -1).mean(1)
    return squares


def _root_of_squares(outputs: Outputs, labels: Array) -> float:
    return float(_squared(outputs, labels).mean() ** 0.5)


def _cosine(outputs: Outputs, labels: Array) -> Array:
    return cosine(_numbers(outputs, labels), labels)


def cosine(one: Array, other: Array) -> Array:
    """Return the cosine of each pair of rows: 1 if both are zero, 0 if only one is."""
    import numpy as np

    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (one, other))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = (a == b).all(1)
    cosines: Array = np.where(norms > 0, (a * b).sum(1) / np.where(norms > 0, norms, 1.0), same)
    return np.clip(cosines, -1.0, 1.0)


def _user_function(name: str) -> Callable[[Outputs, Array], float]:
    module, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        call = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"the metric {name} cannot be loaded: {type(error).__name__}: {error}",
            hint="give MODULE:FUNCTION; the current folder is searched for the module too",
        ) from error

    def value(outputs: Outputs, labels: Array) -> float:
        try:
            result = float(call(dict(outputs), labels))
        except (Exception, SystemExit) as error:
            raise InputError(
                f"the metric {name} raised {type(error).__name__}: {error}", hint=_SIGNATURE
            ) from error
        if not math.isfinite(result):
            raise InputError(f"the metric {name} returned {result}", hint=_SIGNATURE)
        return result

    return value
