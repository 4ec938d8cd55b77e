"""Metrics of a graph's outputs against labels, by name, each with the share that a candidate keeps of the original's.

accuracy, top1 … top100   labels are classes, an output holds a score for each
f1                        the mean over the classes of the harmonic mean of precision and recall (macro)
mse                       labels are numbers, lower is better
cosine                    labels are vectors
spearman                  labels are numbers; of pairs of texts, the cosine of their vectors is ranked
MODULE:FUNCTION           of the user's own: (outputs by name, labels) -> number, higher is better
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

NAMES = ("accuracy", "top5", "f1", "mse", "cosine", "spearman")
_TOP = re.compile(r"top([1-9]\d{0,2})")
_OWN = "it is given the outputs, arrays by name, and the labels, and returns one finite number"


@dataclass(frozen=True)
class Metric:
    """`rows` gives one value a sample (their mean is the metric); `whole` the metric at once, where it has no rows."""

    name: str
    unit: str
    higher_is_better: bool
    rows: Callable[[Outputs, Array], Array] | None = None
    whole: Callable[[Outputs, Array], float] | None = None


def find(name: str) -> Metric:
    """The metric of that name. Raises InputError for an unknown name, or a function that can't be loaded."""
    if ":" in name:
        return Metric(name, "", True, whole=_own(name))
    if name == "accuracy" or _TOP.fullmatch(name):
        top = 1 if name == "accuracy" else int(name[3:])
        return Metric(name, "share", True, rows=lambda outputs, labels: _top(outputs, labels, top))
    table = {
        "f1": Metric("f1", "share", True, whole=_f1),
        "mse": Metric("mse", "", False, rows=_squared),
        "cosine": Metric("cosine", "", True, rows=_cosine),
        "spearman": Metric("spearman", "", True, whole=_spearman),
    }
    if name not in table:
        guess = suggest(name, NAMES, "")
        raise InputError(
            f"no metric is called {name!r}" + (f"; {guess}" if guess else ""),
            hint=f"one of {', '.join(NAMES)}, or MODULE:FUNCTION",
        )
    return table[name]


def default(labels: Array) -> str:
    """What labels of this kind are most often judged by."""
    if labels.dtype.kind in "iub" and labels.ndim == 1:
        return "accuracy"
    return "mse"


def classes(outputs: Outputs) -> Array | None:
    """The first output that holds a score for each of several classes: float [samples, classes]; or None."""
    for array in outputs.values():
        if array.dtype.kind == "f" and array.ndim == 2 and array.shape[1] > 1:
            return array
    return None


def check_labels(name: str, outputs: Outputs, labels: Array) -> None:
    """Refuse labels that the metric cannot take, or classes out of range. InputError with the value."""
    if not (name in ("accuracy", "f1") or _TOP.fullmatch(name)):
        return
    scores = _scores(outputs)
    if labels.dtype.kind not in "iub" or labels.ndim != 1:
        raise InputError(f"{name} takes whole numbers as labels, not {labels.dtype} {list(labels.shape)}")
    bad = labels[(labels < 0) | (labels >= scores.shape[1])]
    if bad.size:
        raise InputError(
            f"the label {bad[0]} is out of range: the model tells {scores.shape[1]} classes apart",
            hint=f"labels are 0 to {scores.shape[1] - 1}",
        )


def _scores(outputs: Outputs) -> Array:
    found = classes(outputs)
    if found is None:
        told = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
        raise InputError(f"no output holds a score for each class: {told}", hint="give another --metric")
    return found


def _numbers(outputs: Outputs, labels: Array) -> Array:
    """The first output of as many numbers as the labels."""
    for array in outputs.values():
        if array.dtype.kind == "f" and array.size == labels.size:
            found: Array = array.reshape(labels.shape)
            return found
    told = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
    raise InputError(
        f"no output is of the labels' shape {list(labels.shape)}: {told}",
        hint="classes are whole numbers; for others give a number for each of an output's, or another --metric",
    )


def _top(outputs: Outputs, labels: Array, count: int) -> Array:
    import numpy as np

    scores = _scores(outputs)
    own = np.take_along_axis(scores, labels[:, None].astype(np.int64), 1)
    # Equal scores do not count as found: a constant output is right about nothing.
    found: Array = ((scores >= own).sum(1) <= count).astype(np.float64)
    return found


def _squared(outputs: Outputs, labels: Array) -> Array:
    found = _numbers(outputs, labels).astype("float64") - labels
    squares: Array = (found**2).reshape(len(labels), -1).mean(1)
    return squares


def _cosine(outputs: Outputs, labels: Array) -> Array:
    return cosine(_numbers(outputs, labels), labels)


def cosine(one: Array, other: Array) -> Array:
    """Of each row; rows that are all zero agree with each other only."""
    import numpy as np

    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (one, other))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = (a == b).all(1)
    found: Array = np.where(norms > 0, (a * b).sum(1) / np.where(norms > 0, norms, 1.0), same)
    return np.clip(found, -1.0, 1.0)


def _f1(outputs: Outputs, labels: Array) -> float:
    import numpy as np

    picked = _scores(outputs).argmax(1)
    values = []
    for one in np.unique(labels):
        hits = float(((picked == one) & (labels == one)).sum())
        values.append(2 * hits / float((picked == one).sum() + (labels == one).sum()))
    return float(np.mean(values))


def _spearman(outputs: Outputs, labels: Array) -> float:
    """Pearson's correlation of the ranks, ties at their mean rank."""
    import numpy as np

    first = next(array for array in outputs.values() if array.dtype.kind == "f")
    pairs = len(first) == 2 * len(labels)
    found = cosine(first[0::2], first[1::2]) if pairs else _numbers(outputs, labels).ravel()
    a, b = _ranks(found), _ranks(labels.ravel())
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Array) -> Array:
    import numpy as np

    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    found: Array = (ends - (counts - 1) / 2)[inverse]
    return found


def _own(name: str) -> Callable[[Outputs, Array], float]:
    module, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        call = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"the metric {name} cannot be loaded: {type(error).__name__}: {error}",
            hint="give MODULE:FUNCTION; the module is looked for in this folder too",
        ) from error

    def value(outputs: Outputs, labels: Array) -> float:
        try:
            found = float(call(dict(outputs), labels))
        except (Exception, SystemExit) as error:
            raise InputError(
                f"the metric {name} raised {type(error).__name__}: {error}", hint=_OWN
            ) from error
        if not math.isfinite(found):
            raise InputError(f"the metric {name} gave {found}", hint=_OWN)
        return found

    return value
