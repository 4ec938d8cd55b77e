"""The processor time that requests take besides the engine's: in the server, the text process and the clients."""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from edgehone.serve.load.started import Started, role_of


class Spent:
    """The processor time that requests took besides the engine's."""

    def __init__(self, started: Started) -> None:
        children = started.process.children(recursive=True)
        text = next(one for one in children if role_of(one) == "text")
        self._processes = (started.process, text, psutil.Process())
        self._seconds, self._requests = [0.0, 0.0, 0.0], 0

    def now(self) -> list[float]:
        """Return the processor time of the server, the text process and the clients so far, in seconds."""
        return [sum(one.cpu_times()[:2]) for one in self._processes]

    def add(self, begun: Sequence[float], requests: int) -> None:
        """Add requests that were sent since then."""
        self._requests += requests
        for index, (before, after) in enumerate(zip(begun, self.now(), strict=True)):
            self._seconds[index] += after - before

    def told(self) -> str:
        """Return the means as a cell."""
        return ", ".join(f"{1000 * one / self._requests:.2f}" for one in self._seconds) + " ms"
