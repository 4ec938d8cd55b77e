"""One row of the benchmarks' table."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Row:
    """A measured value and its limit; `beside` is other output of the same run."""

    name: str
    value: float
    unit: str
    limit: float
    beside: str = ""

    @property
    def verdict(self) -> str:
        """Return PASS if the value is within the limit, else over."""
        return "PASS" if self.value <= self.limit else "over"

    def line(self) -> str:
        """Return the row as text."""
        measured, limit = f"{self.value:.3g} {self.unit}", f"{self.limit:g} {self.unit}"
        return f"{self.name:28}{measured:>11}  {limit:>9}  {self.verdict}  {self.beside}"


def medians(commands: Sequence[Sequence[str]], times: int) -> list[float]:
    """Return the median wall-clock seconds of each command, run alternately so that other load affects all alike."""
    taken: list[list[float]] = [[] for _ in commands]
    for _ in range(times):
        for command, seconds in zip(commands, taken, strict=True):
            begun = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds.append(time.perf_counter() - begun)
    return [median(seconds) for seconds in taken]
