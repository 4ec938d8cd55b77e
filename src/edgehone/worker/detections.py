"""Detections in the outputs of a graph: where boxes and scores are, and how well two sets of boxes match.

Layouts: one output with a row or column for each anchor, 4 coordinates first, then optionally objectness, then a score
for each class (YOLO), or boxes and scores in separate outputs (SSD, RetinaNet, exported with or without suppression of
overlapping boxes).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Outputs = Mapping[str, Array]

# A box counts from this score on, the usual default of detectors' own tools.
THRESHOLD = 0.25
# Its partner may score lower: a box at 0.26 in one and at 0.24 in the other is no loss.
PARTNER = 0.8 * THRESHOLD
# Two boxes are the same object from this intersection over union on (PASCAL VOC).
OVERLAP = 0.5
# Overlapping boxes of one class above this are one detection (the usual default of non-maximum suppression).
SUPPRESSION = 0.45
# A row of a detector that suppresses boxes itself: x1, y1, x2, y2, score, class (YOLOv10, MMDetection with classes).
_ROW = 6
_COLUMNS = (0, 4, 5)
# Fewest anchors, and most channels, of an output with both boxes and scores.
_ANCHORS = 64
_CHANNELS = 1024
# Scores of classes that are large on so many of the anchors are not those of objects.
_OFTEN = 0.05
_BOXES = re.compile(r"box|loc|rect", re.IGNORECASE)
_SCORES = re.compile(r"score|conf|prob|logit", re.IGNORECASE)
_CLASSES = re.compile(r"class|cls|label|categor", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """Where boxes and scores are.

    In one output: `axis` is that of the channels (1 or 2), `objectness` tells whether a score of the box comes before
    those of the classes. In two outputs: `scores` names the other. Boxes are (x, y, width, height) around their
    centres if `centred`, else (x1, y1, x2, y2). `background` is the class that means "no object". `classes` names the
    output with the class of each box, if its score is a single one. `columns`: each row is one box; the columns of its
    first coordinate, of its score, and of the number of its class (None if `classes` has it). `suppressed`: the graph
    has removed overlapping boxes itself. `guessed`: no name told what the outputs are.
    """

    boxes: str
    scores: str | None = None
    axis: int = 1
    objectness: bool = False
    centred: bool = True
    background: int | None = None
    why: str = ""
    classes: str | None = None
    columns: Sequence[int | None] | None = None
    suppressed: bool = False
    guessed: bool = False

    @property
    def numbers(self) -> tuple[str, ...]:
        """Return the outputs with boxes and scores."""
        return (self.boxes,) if self.scores is None else (self.boxes, self.scores)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the outputs that are read."""
        return self.numbers if self.classes is None else (*self.numbers, self.classes)


def separate(outputs: Outputs, unequal: Collection[str] = ()) -> Layout | None:
    """Return the layout of boxes [samples, k, 4] and scores [samples, k(, classes)] in two outputs, else None.

    Where each box has a single score, a third output [samples, k] may have its class. `unequal` are the outputs whose
    size differs by sample: boxes of which there are as many as are found are suppressed already.
    """
    boxes = [n for n, a in outputs.items() if _BOXES.search(n) and a.ndim == 3 and a.shape[2] == 4]
    for name in boxes:
        rows = outputs[name].shape[:2]
        others = [other for other, array in outputs.items() if other != name and array.shape[:2] == rows]
        named = [other for pattern in (_SCORES, _CLASSES) for other in others if pattern.search(other)]
        scores = next((one for one in named if _scores(outputs[one])), None)
        if scores is None:
            continue
        array = outputs[scores]
        alone = array.size == rows[0] * rows[1]
        classes = next((one for one in others if one != scores and alone and _CLASSES.search(one)), None)
        centred, background = not _corners(outputs[name]), _background(array)
        why = "boxes and scores by their names and shapes"
        return Layout(
            name, scores, centred=centred, background=background, why=why, classes=classes,
            suppressed=name in unequal,
        )  # fmt: skip
    return None


def _scores(array: Array) -> bool:
    return array.dtype.kind == "f" and array.ndim in (2, 3)


def _background(scores: Array) -> int | None:
    """Return the class that means "no object": of probabilities that add up to 1, the one of most boxes."""
    import numpy as np

    few = scores.ndim != 3 or scores.shape[2] < 2 or scores.shape[1] < _ANCHORS
    if few or not np.allclose(scores.sum(2), 1.0, atol=1e-2):
        return None
    means = scores.mean((0, 1))
    return int(means.argmax()) if float(means.max()) > 0.5 else None  # most boxes hold nothing


def joint(name: str, array: Array, told: bool = False) -> Layout | None:
    """Return the layout of one output [samples, channels, anchors] or [samples, anchors, channels], else None.

    It is recognized by 4 channels of another scale (or sign) before channels that are all between 0 and 1.
    """
    import numpy as np

    if array.ndim != 3 or array.dtype.kind != "f":
        return None
    if array.shape[2] == _ROW and _rows(array):
        return Layout(
            name, None, 2, centred=False, why="rows of corners, a score and a class", columns=_COLUMNS
        )
    axis = 1 if array.shape[1] <= array.shape[2] else 2
    channels, anchors = array.shape[axis], array.shape[3 - axis]
    if not 5 <= channels <= _CHANNELS or (anchors < _ANCHORS and not told):
        return None
    values = np.moveaxis(array, axis, 2)
    coordinates, scores = values[..., :4], values[..., 4:]
    probabilities = bool((scores >= 0).all()) and bool((scores <= 1).all())
    larger = float(np.abs(coordinates).max()) > 4 * max(float(np.abs(scores).max()), 1e-6)
    if not probabilities or not (larger or told):
        return None
    objectness = channels > 5 and _objectness(scores[..., 0], scores[..., 1:].max(-1))
    why = f"4 coordinates up to {float(np.abs(coordinates).max()):.3g}, then {channels - 4} scores between 0 and 1"
    return Layout(name, None, axis, objectness, centred=not _corners(coordinates), why=why)


def _objectness(first: Array, others: Array) -> bool:
    """Return True if the first score tells whether there is an object, and the others of which class it would be.

    Where such a score is high, one of a class is, too (YOLOv5); where that of a first class is high, the others are low
    (YOLOv8). If it never is, scores of classes that hold only where an object is are large on many anchors; those of an
    image without the first class only where the objects are.
    """
    import numpy as np

    sure = first >= THRESHOLD
    if sure.any():
        return float(np.median(others[sure])) >= THRESHOLD
    return float((others >= THRESHOLD).mean()) >= _OFTEN


def _rows(array: Array) -> bool:
    """Return True if each row is a box by its corners, a score between 0 and 1, and the number of a class."""
    import numpy as np

    boxes, scores, classes = array[..., :4], array[..., 4], array[..., 5]
    numbers = bool((classes >= 0).all()) and bool((np.abs(classes - np.rint(classes)) < 1e-3).all())
    shares = bool((scores >= 0).all()) and bool((scores <= 1).all()) and bool(scores.any())
    return numbers and shares and bool(boxes.any()) and _corners(boxes)


def _corners(boxes: Array) -> bool:
    """Return True if the boxes are corners: their second point is never left of or above the first."""
    widths = boxes[..., 2] - boxes[..., 0]
    heights = boxes[..., 3] - boxes[..., 1]
    return bool((widths >= 0).all()) and bool((heights >= 0).all())


def find(outputs: Outputs, layout: Layout, sample: int, least: float = PARTNER) -> tuple[Array, Array, Array]:
    """Return boxes [k, 4] as corners, scores [k] and classes [k] of one sample, from the score `least` on.

    Overlapping boxes of one class are suppressed, unless the graph has done that.
    """
    import numpy as np

    first = outputs[layout.boxes][sample].astype(np.float64)
    numbers = None
    if layout.columns is not None:
        boxes, scores, numbers = _columns(first, layout.columns)
    elif layout.scores is None:
        rows = first if layout.axis == 2 else first.T
        boxes, scores = rows[:, :4], rows[:, 4:]
        if layout.objectness:
            scores = scores[:, :1] * scores[:, 1:]
    else:
        boxes, scores = first, outputs[layout.scores][sample].astype(np.float64).reshape(len(first), -1)
    if layout.background is not None:
        scores[:, layout.background] = 0.0
    best, classes = scores.max(1), scores.argmax(1)
    if numbers is not None:
        classes = numbers
    if layout.classes is not None:
        classes = np.rint(outputs[layout.classes][sample].reshape(len(boxes))).astype(np.int64)
    keep = best >= least
    boxes, best, classes = boxes[keep], best[keep], classes[keep]
    if layout.centred:
        boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    return (boxes, best, classes) if layout.suppressed else _suppressed(boxes, best, classes)


def _columns(rows: Array, columns: Sequence[int | None]) -> tuple[Array, Array, Array | None]:
    """Return boxes [k, 4], scores [k, 1] and the numbers of classes [k] (None if the rows have none) of rows."""
    import numpy as np

    box, score, number = columns
    assert box is not None and score is not None
    rows = rows.reshape(-1, rows.shape[-1])
    numbers = None if number is None else np.rint(rows[:, number]).astype(np.int64)
    return rows[:, box : box + 4], rows[:, score : score + 1], numbers


def _suppressed(boxes: Array, scores: Array, classes: Array) -> tuple[Array, Array, Array]:
    import numpy as np

    order = list(np.argsort(-scores, kind="stable"))
    kept: list[int] = []
    while order:
        best = order.pop(0)
        kept.append(int(best))
        if order:
            rest = np.array(order)
            same = (classes[rest] == classes[best]) & (
                overlaps(boxes[best][None], boxes[rest])[0] > SUPPRESSION
            )
            order = [int(index) for index in rest[~same]]
    index = np.array(kept, dtype=np.int64)
    return boxes[index], scores[index], classes[index]


def overlaps(one: Array, other: Array) -> Array:
    """Return the intersection over union of boxes [a, 4] and [b, 4] (corners), [a, b]."""
    import numpy as np

    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - common
    result: Array = np.where(union > 0, common / np.where(union > 0, union, 1.0), 0.0)
    return result


@dataclass(frozen=True)
class Matches:
    """The detections of both sides that have a partner on the other, all of them, and the scores of pairs.

    `scores` [pairs, 2]: of each detection of the original that has a partner, its score and the partner's.
    """

    partnered: float
    every: float
    scores: Array


def matched(reference: Outputs, candidate: Outputs, layout: Layout, sample: int) -> Matches:
    """Return which detections of one sample have a partner in the other side's outputs.

    A detection has a score of at least THRESHOLD; its partner one of at least PARTNER, the same class, and an overlap
    of at least OVERLAP. Half the number of matched ones over the number of all is their F1.
    """
    ours, theirs = find(reference, layout, sample), find(candidate, layout, sample)
    pairs = _partners(ours, theirs)
    return Matches(
        float(len(pairs) + len(_partners(theirs, ours))),
        float((ours[1] >= THRESHOLD).sum() + (theirs[1] >= THRESHOLD).sum()),
        pairs,
    )


def _partners(one: tuple[Array, Array, Array], other: tuple[Array, Array, Array]) -> Array:
    """Return the scores [pairs, 2] of the detections of `one` and of their partners in `other`.

    Each partner is used once, best scores first.
    """
    import numpy as np

    free = set(range(len(other[1])))
    table = overlaps(one[0], other[0])
    pairs = []
    for index in np.argsort(-one[1], kind="stable"):
        if one[1][index] < THRESHOLD:
            break
        partners = [j for j in free if other[2][j] == one[2][index] and table[index, j] >= OVERLAP]
        if partners:
            best = max(partners, key=lambda j: table[index, j])
            free.remove(best)
            pairs.append((one[1][index], other[1][best]))
    return np.array(pairs, np.float64).reshape(-1, 2)
