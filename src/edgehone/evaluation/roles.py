"""The roles that the outputs of a graph can have: what their values decide.

Each role has a measure of agreement of its own (`evaluation.decisions`), so that large values of one output cannot hide
the loss of another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.inputs.output_sizes import sized_output
from edgehone.worker import detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

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
    "sound",
    "size",
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
    "sound": "sound",
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
    "sound": "a sound: the share of the variance of its spectrum over time that is explained",
    "size": "how much there is, which differs by sample: the smaller as a share of the larger",
    "state": "a state that is fed back: the share of its variance that is explained",
    "ids": "whole numbers: equal ones",
    "unknown": "not recognized: relative error and equal decisions (largest entry, sign), the worst counts",
}


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


def padded(roles: Sequence[OutputRole]) -> frozenset[str]:
    """Return the outputs in which zeros at the end mean nothing: silence, boxes without a score."""
    sounds = [one.name for one in roles if one.role == "sound"]
    boxes = [name for one in roles if one.layout for name in one.layout.names]
    return frozenset([*sounds, *boxes])


def with_sizes(roles: Sequence[OutputRole], outputs: Collection[str]) -> tuple[OutputRole, ...]:
    """Return the roles, and those of sizes among `outputs` that have none yet.

    Boxes are counted where they are judged.
    """
    known = {one.name for one in roles}
    counted = {name for one in roles if one.layout for name in one.layout.names}
    sizes = [
        name for name in outputs if (of := sized_output(name)) and name not in known and of not in counted
    ]
    return (*roles, *(OutputRole(name, "size", "they depend on the data") for name in sizes))


def check(kind: str | None) -> None:
    """Raise InputError for an unknown task kind."""
    if kind is not None and kind not in TASK_KINDS:
        guess = suggest(kind, TASK_KINDS, "")
        raise InputError(
            f"unknown task kind {kind!r}" + (f"; {guess}" if guess else ""),
            hint=f"--task-kind is one of {', '.join(TASK_KINDS)}",
        )


def class_axis(array: Array) -> int:
    """Return the axis of a picture's channels, 1 or 3: the smaller one."""
    return 1 if array.shape[1] <= array.shape[3] else 3
