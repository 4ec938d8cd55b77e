"""Frames of a camera, sent to a graph at a steady pace, whether or not the last one was answered.

A frame that arrives while another is being answered waits, and is replaced by a newer one: an application that acts on
what is there now does the same. A frame counts as dropped if it was replaced, or answered after its deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgehone.worker.clock import clock_of

if TYPE_CHECKING:
    from edgehone.backends.sessions import GraphSession
    from edgehone.inputs.batches import Batches

# The least number of frames in a turn.
TURN = 10


class Frames:
    """A stream of `per_second` frames of `size` samples each, to be answered within `deadline` seconds."""

    def __init__(
        self, session: GraphSession, batches: Batches, size: int, per_second: float, deadline: float
    ) -> None:
        self.session, self.batches, self.size = session, batches, size
        self.per_second, self.deadline = per_second, deadline
        self.clock = clock_of(session)
        self.position = 0

    def answer(self) -> list[dict[str, Any]]:
        """Answer frames until 10 have arrived.

        Return for each answered frame `total`, the seconds from its arrival to its answer; `frames`, how many have
        arrived since the one answered before it; and `late`, 1 if `total` exceeds the deadline, else 0.
        """
        answered: list[dict[str, Any]] = []
        begun, last = self.clock.now(), -1
        while last < TURN - 1:
            newest = int((self.clock.now() - begun) * self.per_second)
            if newest <= last:
                newest = last + 1
                self.clock.sleep(max(0.0, begun + newest / self.per_second - self.clock.now()))
            self.session.run(self.batches.around(self.position, self.size))
            self.position += self.size
            total = self.clock.now() - begun - newest / self.per_second
            answered.append({"total": total, "frames": newest - last, "late": float(total > self.deadline)})
            last = newest
        return answered

    def close(self) -> None:
        """Close the session."""
        self.session.close()
