"""Frames of a camera before a graph: they come at a steady pace, whether or not the last was answered.

A frame that comes while another is being answered waits, and a newer one takes its place: what an application does
that must act on what is there now. A frame is dropped where it was replaced so, or answered after its deadline.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.backends.sessions import GraphSession
    from edgehone.worker.batches import Batches

# Frames of a turn at least.
TURN = 10


class Frames:
    """A stream of the samples, `size` of them a frame; `deadline` in seconds."""

    def __init__(
        self, session: GraphSession, batches: Batches, size: int, per_second: float, deadline: float
    ) -> None:
        self.session, self.batches, self.size = session, batches, size
        self.per_second, self.deadline = per_second, deadline
        self.at = 0

    def answer(self) -> list[dict[str, float]]:
        """Of each frame that was answered: `total` seconds from its coming to its answer, `frames` that had come
        since the one answered before, and whether it was `late`."""
        made: list[dict[str, float]] = []
        begun, last = time.perf_counter(), -1
        while last < TURN - 1:
            newest = int((time.perf_counter() - begun) * self.per_second)
            if newest <= last:
                newest = last + 1
                time.sleep(max(0.0, begun + newest / self.per_second - time.perf_counter()))
            self.session.run(self.batches.around(self.at, self.size))
            self.at += self.size
            total = time.perf_counter() - begun - newest / self.per_second
            made.append({"total": total, "frames": newest - last, "late": float(total > self.deadline)})
            last = newest
        return made

    def close(self) -> None:
        """Give memory back."""
        self.session.close()
