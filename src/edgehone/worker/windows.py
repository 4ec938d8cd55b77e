"""The windows of token ids that quality is scored on: pieces of the evaluation text, or answered conversations.

A window is read from an empty context. Of a piece of text every id but the first is scored; of a conversation the ids
of the answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import EdgehoneError
from edgehone.worker.conversations import FILE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgehone.backends.sessions import WorkerJob

    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """The ids of a window, the first position whose prediction is scored, and the bytes of each scored id."""

    ids: Ints
    first: int
    bytes: Ints

    @property
    def scored(self) -> range:
        """The positions whose predictions are scored."""
        return range(self.first, self.first + len(self.bytes))

    @property
    def targets(self) -> Ints:
        """The ids that those positions predict."""
        return self.ids[self.first + 1 : self.first + 1 + len(self.bytes)]


@dataclass(frozen=True)
class Windows:
    """All windows, and the ids that each piece of text begins with."""

    each: Sequence[Window]
    bos: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """The number of scored ids."""
        return sum(len(one.bytes) for one in self.each)

    @property
    def bytes(self) -> Ints:
        """The bytes of each scored id of all windows."""
        import numpy as np

        return np.concatenate([one.bytes for one in self.each])

    @property
    def digest(self) -> str:
        """SHA-256 of the ids, to detect a reference that was computed from another text."""
        import numpy as np

        ids = np.concatenate([one.ids for one in self.each])
        return hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()

    def head(self, count: int) -> Windows:
        """Return the first windows."""
        return Windows(self.each[:count], self.bos)


def read(job: WorkerJob, reference_facts: Mapping[str, Any] | None = None) -> Windows:
    """Return the windows that the args of a job (or the facts of a reference) describe.

    They are those of inputs["conversations"], a folder that `worker.conversations` filled, if it is given, else pieces
    of evaluation.json in inputs["prepared"]. Raises EdgehoneError for a text that is too short.
    """
    options = job.args if reference_facts is None else reference_facts
    bos = tuple(int(i) for i in options.get("bos", ()))
    if "conversations" in job.inputs:
        return Windows(_conversations(job), bos)
    return Windows(_pieces(job, options, bos), bos)


def _conversations(job: WorkerJob) -> list[Window]:
    import numpy as np

    data = json.loads((job.inputs["conversations"] / FILE).read_text("utf-8"))
    return [
        Window(np.asarray(one["ids"], np.int64), one["start"] - 1, np.asarray(one["bytes"], np.int64))
        for one in data
    ]


def _pieces(job: WorkerJob, options: Mapping[str, Any], bos: tuple[int, ...]) -> list[Window]:
    """Cut evaluation.json into windows of equal length, which do not overlap."""
    import numpy as np

    count, length, start = int(options["windows"]), int(options["window"]), int(options.get("start", 0))
    text = length - len(bos)
    if count < 1 or text < 2:
        raise EdgehoneError(f"{count} windows of {length} ids ({len(bos)} BOS) contain nothing to score")
    data = json.loads((job.inputs["prepared"] / "evaluation.json").read_text(encoding="utf-8"))
    part = slice(start, start + count * text)
    ids, sizes = np.asarray(data["ids"][part], np.int64), np.asarray(data["bytes"][part], np.int64)
    if not ids.size == sizes.size == count * text:
        raise EdgehoneError(
            f"the evaluation text has {max(len(data['ids']) - start, 0)} token ids, "
            f"{count} windows need {count * text}",
            hint="give a longer text with --eval FILE",
        )
    head = np.asarray(bos, np.int64)
    pieces = zip(ids.reshape(count, text), sizes.reshape(count, text), strict=True)
    return [Window(np.concatenate([head, one]), len(bos), size[1:]) for one, size in pieces]
