"""Guess boxes, scores and classes of outputs whose names tell nothing, by their shapes and the original's values.

A detector that removes overlapping boxes itself gives its boxes in any order, so that entries cannot be compared one by
one. Exporters often name the outputs `1234` or `Identity_1`. Since a wrong guess would judge numbers as boxes, each
output must look like what it is taken for on every row, and something besides must show that the rows are found
objects: their number differs by sample, they are listed by falling score, each has a whole number as its class, or most
of many anchors hold nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from edgehone.worker.detections import THRESHOLD, Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Outputs = Mapping[str, Array]

# Columns of rows that are one box each: first coordinate, score, number of the class.
_ROWS: Mapping[int, tuple[tuple[int, int, int], ...]] = {
    6: ((0, 5, 4), (2, 1, 0)),  # the second is PaddleDetection's; (0, 4, 5) is `worker.detections.joint`
    7: ((1, 6, 5), (3, 2, 1)),  # YOLOv7's with the number of the picture first; DetectionOutput of SSD
}
_DETS = 5  # corners and a score, with the classes in another output (MMDetection's `dets` and `labels`)
# Fewer boxes than this say nothing about what their numbers are.
_LEAST = 10
# Coordinates are shares of the picture up to this, or pixels within these limits.
_SHARES = 1.5
_PIXELS = (8.0, 16384.0)
# Boxes stick out of the picture by less than this share of the largest coordinate: those of anchors without an object
# do by 0.2 in NudeNet (-84 to 417 in pictures of 320 pixels).
_OUTSIDE = 0.35
# Quantiles in rising order look like corners: x1 <= y1 <= x2 <= y2 in every row. Of boxes at least this share differs.
_UNSORTED = 0.05
# Boxes without an extent are padding or mistakes: few rows have none.
_WITH_AREA = 0.9
_ANCHORS = 64
_OTHER_NAME = re.compile(r"score|conf|prob|logit|class|cls|label|mask|embed|hidden|state", re.IGNORECASE)
_NO_SCORE_NAME = re.compile(r"box|loc|rect|class|cls|label|mask|embed|hidden|state", re.IGNORECASE)
_NO_CLASS_NAME = re.compile(r"box|loc|rect|score|conf|prob|logit|index|indices", re.IGNORECASE)


def guess(outputs: Outputs, unequal: Collection[str] = (), told: bool = False) -> Layout | None:
    """Return the layout of boxes, scores and classes [samples, …] by shapes and values; None if none look like them.

    `unequal` are the outputs whose number of rows differs by sample. `told`: the user says that it is a detector, so
    that few boxes are enough, and no evidence of found objects is needed. `Layout.why` says what was taken for what.
    """
    for name, array in outputs.items():
        if array.dtype.kind != "f" or array.ndim not in (3, 4) or _OTHER_NAME.search(name):
            continue
        layout = _separate(name, outputs, unequal, told) if array.ndim == 3 else None
        if (layout := layout or _rows(name, array, told)) is not None:
            return layout
    return None


def count_of(outputs: Outputs, layout: Layout) -> str | None:
    """Return the output with the number of boxes: one whole number a sample, at most that of the rows; or None."""
    taken = {*layout.names}
    rows = outputs[layout.boxes].shape[-2]
    for name, array in outputs.items():
        if name not in taken and array.size == len(array) and _whole(array, 0) and float(array.max()) <= rows:
            return name
    return None


def _separate(name: str, outputs: Outputs, unequal: Collection[str], told: bool) -> Layout | None:
    """Return the layout of boxes [samples, k, 4] or [samples, k, 5] beside scores or classes [samples, k]."""
    array = outputs[name]
    same = {
        other: one for other, one in outputs.items() if other != name and one.shape[:2] == array.shape[:2]
    }
    classes = _classes(same)
    if array.shape[2] == _DETS and classes is not None:
        if not (_corners(array[..., :4], told) and _shares(array[..., 4])):
            return None
        why = f"a guess by shapes and values: rows of corners and a score, the class of each in {classes!r}"
        return Layout(
            name, None, 2, centred=False, why=why, classes=classes, columns=(0, 4, None),
            suppressed=True, guessed=True,
        )  # fmt: skip
    if array.shape[2] != 4 or not _corners(array, told):
        return None
    scores = _scores(same, classes)
    if scores is None:
        return None
    single = _single(same[scores])
    classes = classes if single else None
    if not (told or name in unequal or classes is not None or _of_objects(same[scores])):
        return None
    labelled = f", the class of each in {classes!r}" if classes is not None else ""
    why = f"a guess by shapes and values: corners of boxes, scores in {scores!r}{labelled}"
    many = not single and name not in unequal
    return Layout(
        name, scores, centred=False, why=why, classes=classes,
        suppressed=not many, guessed=True,
    )  # fmt: skip


def _rows(name: str, array: Array, told: bool) -> Layout | None:
    """Return the layout of rows with corners, a score and the number of a class in one output."""
    if array.ndim == 4 and array.shape[1] != 1:
        return None
    for box, score, number in _ROWS.get(array.shape[-1], ()):
        rows = array.reshape(-1, array.shape[-1])
        rows = rows[rows[:, score] > 0]
        others = [i for i in range(array.shape[-1]) if i not in (*range(box, box + 4), score)]
        numbers = all(_whole(rows[:, i], 0) for i in others)
        if numbers and _shares(rows[:, score]) and _corners(rows[:, box : box + 4], told):
            why = (
                f"a guess by shapes and values: rows of corners (from column {box}), a score (column {score}) and the "
                f"number of a class (column {number})"
            )
            return Layout(
                name, None, 2, centred=False, why=why, columns=(box, score, number), suppressed=True,
                guessed=True,
            )  # fmt: skip
    return None


def _scores(same: Outputs, classes: str | None) -> str | None:
    """Return the output with scores between 0 and 1, one for each box before those that have one for each class."""
    found = [
        name
        for name, array in same.items()
        if name != classes and array.ndim <= 3 and not _NO_SCORE_NAME.search(name) and _shares(array)
    ]
    return min(found, key=lambda name: (not _single(same[name]), list(same).index(name)), default=None)


def _classes(same: Outputs) -> str | None:
    """Return the output with the number of a class for each box: of several, the one with the fewest numbers."""
    import numpy as np

    found = [
        name
        for name, array in same.items()
        if _single(array) and not _NO_CLASS_NAME.search(name) and _whole(array, -1)
    ]
    return min(found, key=lambda name: len(np.unique(same[name])), default=None)


def _single(array: Array) -> bool:
    """Return True if there is one number for each box."""
    return bool(array.size == array.shape[0] * array.shape[1])


def _of_objects(scores: Array) -> bool:
    """Return True if the scores fall from row to row, or if most of many anchors hold nothing."""
    import numpy as np

    if _single(scores):
        by_row = scores.reshape(scores.shape[:2])
        return scores.shape[1] >= 2 and bool((np.diff(by_row, axis=1) <= 0).all())
    most = scores.max(2)
    return scores.shape[1] >= _ANCHORS and float(np.median(most)) < THRESHOLD <= float(most.max())


def _whole(array: Array, least: int) -> bool:
    """Return True if all entries are whole numbers from `least` on."""
    import numpy as np

    if array.dtype.kind not in "fiu" or not array.size:
        return False
    return bool((array >= least).all()) and bool((np.abs(array - np.rint(array)) < 1e-3).all())


def _shares(array: Array) -> bool:
    """Return True if all entries are between 0 and 1, and some of them inside."""
    if array.dtype.kind != "f" or not array.size:
        return False
    inside = (array > 1e-3) & (array < 1 - 1e-3)
    return bool((array >= 0).all()) and bool((array <= 1).all()) and bool(inside.any())


def _corners(array: Array, told: bool) -> bool:
    """Return True if the rows of 4 numbers, but for padding (4 equal ones), are two corners in a picture."""
    import numpy as np

    rows = array.reshape(-1, 4).astype(np.float64)
    rows = rows[(rows != rows[:, :1]).any(1)]
    if len(rows) < (1 if told else _LEAST) or not np.isfinite(rows).all():
        return False
    extents = rows[:, 2:] - rows[:, :2]
    largest, smallest = float(rows.max()), float(rows.min())
    in_picture = 0 < largest <= _SHARES or _PIXELS[0] <= largest <= _PIXELS[1]
    unsorted = float((np.diff(rows, axis=1) < 0).any(1).mean())
    return (
        bool((extents >= 0).all())
        and float((extents > 0).all(1).mean()) >= _WITH_AREA
        and in_picture
        and smallest >= -_OUTSIDE * largest
        and (told or unsorted >= _UNSORTED)
        and not np.allclose(rows.sum(1), 1.0, atol=1e-2)
    )
