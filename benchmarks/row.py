"""One line of the benchmarks' table."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Row:
    """What was measured, and the limit that it is held against; `beside` is what else the same run showed."""

    name: str
    value: float
    unit: str
    limit: float
    beside: str = ""

    @property
    def verdict(self) -> str:
        """PASS within the limit, else over."""
        return "PASS" if self.value <= self.limit else "over"

    def line(self) -> str:
        """The line as people read it."""
        measured, limit = f"{self.value:.3g} {self.unit}", f"{self.limit:g} {self.unit}"
        return f"{self.name:28}{measured:>11}  {limit:>9}  {self.verdict}  {self.beside}"


def medians(commands: Sequence[Sequence[str]], times: int) -> list[float]:
    """Median wall seconds of each command, run in turn so that what the machine does meanwhile hits all alike."""
    taken: list[list[float]] = [[] for _ in commands]
    for _ in range(times):
        for command, seconds in zip(commands, taken, strict=True):
            begun = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds.append(time.perf_counter() - begun)
    return [median(seconds) for seconds in taken]
