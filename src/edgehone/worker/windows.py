"""The windows of token ids that quality is scored on: pieces of the evaluation text, or answered conversations.

A window is read from an empty context. Of a piece of text every id but the first is scored; of a conversation the ids
of the answer, and of a long chat (`worker.long_chats`) those of all its answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import EdgehoneError
from edgehone.worker import long_chats
from edgehone.worker.conversations import FILE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgehone.backends.sessions import WorkerJob

    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """The ids of a window, the positions whose predictions are scored, and the bytes of each id that they predict.

    The positions ascend.
    """

    ids: Ints
    scored: Ints
    bytes: Ints

    @property
    def targets(self) -> Ints:
        """The ids that the scored positions predict."""
        return self.ids[self.scored + 1]


@dataclass(frozen=True)
class Windows:
    """The windows that quality is judged on, and the ids that each piece of text begins with.

    `long` are chats of the workload's whole context, whose tokens count only for the divergence by position.
    """

    each: Sequence[Window]
    bos: tuple[int, ...]
    long: Sequence[Window] = ()

    @property
    def all(self) -> Sequence[Window]:
        """All windows, the long chats last."""
        return [*self.each, *self.long]

    @property
    def tokens(self) -> int:
        """The number of scored ids of all windows."""
        return sum(len(one.bytes) for one in self.all)

    @property
    def digest(self) -> str:
        """SHA-256 of the ids, to detect a reference that was computed from another text."""
        import numpy as np

        ids = np.concatenate([one.ids for one in self.all])
        return hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()

    def head(self, count: int) -> Windows:
        """Return the first windows, without the long chats."""
        return Windows(self.each[:count], self.bos)


def read(job: WorkerJob, reference_facts: Mapping[str, Any] | None = None) -> Windows:
    """Return the windows that the args of a job (or the facts of a reference) describe.

    They are those of inputs["conversations"], a folder that `worker.conversations` filled, if it is given, with its
    long chats; else pieces of evaluation.json in inputs["prepared"]. Raises EdgehoneError for a text that is too short.
    """
    options = job.args if reference_facts is None else reference_facts
    bos = tuple(int(i) for i in options.get("bos", ()))
    if "conversations" in job.inputs:
        folder = job.inputs["conversations"]
        path = folder / long_chats.FILE
        chats = json.loads(path.read_text("utf-8"))["chats"] if path.is_file() else []
        return Windows(
            _spoken(json.loads((folder / FILE).read_text("utf-8"))), bos, [_long(one) for one in chats]
        )
    return Windows(_pieces(job, options, bos), bos)


def _spoken(data: Sequence[Mapping[str, Any]]) -> list[Window]:
    return [_window(one["ids"], one["start"] - 1, one["bytes"]) for one in data]


def _long(chat: Mapping[str, Any]) -> Window:
    import numpy as np

    scored = np.asarray(chat["answered"], np.int64) - 1
    return Window(np.asarray(chat["ids"], np.int64), scored, np.asarray(chat["bytes"], np.int64))


def _window(ids: Any, first: int, sizes: Any) -> Window:
    """Return a window whose predictions from the position `first` on are scored, as many as there are sizes."""
    import numpy as np

    return Window(
        np.asarray(ids, np.int64), np.arange(first, first + len(sizes)), np.asarray(sizes, np.int64)
    )


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
    return [_window(np.concatenate([head, one]), len(bos), size[1:]) for one, size in pieces]
