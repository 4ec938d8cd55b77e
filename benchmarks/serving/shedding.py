"""Simulate an engine at 0.8 and at 2 times its capacity, with the server's admission and with a fixed number of places.

    python -m benchmarks.serving.shedding

The engine takes a + b * n seconds for a request while n run; 8 at once take 0.1 s. Requests differ by up to 10 % and
come on a fixed schedule for 30 s. The host is 1.2 times slower in some spans of 0.3 s on the average. Nothing here is a
time of a real machine.
"""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass, field

from edgehone.serve.load.loads import quantile
from edgehone.serve.shedding import Shedding

PLACES, WAITING, SECONDS, SPAN = 8, 2, 30.0, 0.3
SEEDS = range(5)
GAINS, SLOW_SHARES, SLOWER = (0.5, 1.0, 2.0, 4.0, 8.0), (0.0, 0.2), 1.2


@dataclass
class _Request:
    work: float
    due: float
    entered: float = 0.0
    area: float = 0.0


@dataclass
class _Simulation:
    """An engine with k = a / b, and the requests in it."""

    k: float
    slow_share: float
    sheds: bool
    chance: random.Random
    now: float = 0.0
    area: float = 0.0  # the seconds of all requests that ran
    slow: float = 1.0
    changes: float = math.inf
    running: list[_Request] = field(default_factory=list)
    queue: list[_Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shedding = Shedding(PLACES, PLACES + WAITING, lambda: self.now)
        self.changes = 0.0 if self.slow_share else math.inf

    @property
    def capacity(self) -> float:
        """Requests a second with all places taken."""
        return PLACES / 0.1

    def load(self, rate: float) -> tuple[list[float], int]:
        """Return the times of the answered requests, and how many were refused."""
        begun, number, refused, times = self.now, 0, 0, list[float]()
        while True:
            due = begun + number / rate
            speed = (PLACES + self.k) / 0.1 / (self.k + max(1, len(self.running))) / self.slow
            first = min((one.work for one in self.running), default=math.inf)
            at = min(self.now + first / speed, due, self.changes)
            if at > begun + SECONDS:
                return times, refused
            self.area += len(self.running) * (at - self.now)
            for one in self.running:
                one.work -= (at - self.now) * speed
            self.now = at
            if at == self.changes:
                self.slow = SLOWER if self.chance.random() < self.slow_share else 1.0
                self.changes = at + self.chance.expovariate(1 / SPAN)
            elif at == due:
                number += 1
                refused += not self._came()
            else:
                times.append(self._answered())

    def _came(self) -> bool:
        most = self.shedding.most if self.sheds else PLACES + WAITING
        full = len(self.running) + len(self.queue) >= most
        self.shedding.came(refused=full)
        if not full:
            self.queue.append(_Request(self.chance.uniform(0.9, 1.1), self.now))
            self._enter()
        return not full

    def _answered(self) -> float:
        one = min(self.running, key=lambda each: each.work)
        self.running.remove(one)
        held = self.now - one.entered
        self.shedding.answered((self.area - one.area) / held, held)
        self._enter()
        return self.now - one.due

    def _enter(self) -> None:
        while self.queue and len(self.running) < PLACES:
            one = self.queue.pop(0)
            one.entered, one.area = self.now, self.area
            self.running.append(one)


def simulate(k: float, slow_share: float, seed: int, *, sheds: bool) -> tuple[float, float]:
    """Return the p99 at 2 times the capacity by that at 0.8 times, and the throughput at 2 times by the capacity."""
    one = _Simulation(k, slow_share, sheds, random.Random(seed))
    below, _ = one.load(0.8 * one.capacity)
    beyond, _ = one.load(2 * one.capacity)
    return quantile(beyond, 0.99) / quantile(below, 0.99), len(beyond) / SECONDS / one.capacity


def main() -> None:
    """Print a table of medians over some seeds."""
    print("| a / b | slow for | p99 ratio, fixed | shedding | throughput, fixed | shedding |")
    print("| --- " * 6 + "|")
    for k in GAINS:
        for share in SLOW_SHARES:
            found = [[simulate(k, share, seed, sheds=sheds) for seed in SEEDS] for sheds in (False, True)]
            (ratio, rate), (shed_ratio, shed_rate) = (
                map(statistics.median, zip(*one, strict=True)) for one in found
            )
            print(f"| {k} | {share:.0%} | {ratio:.2f} | {shed_ratio:.2f} | {rate:.2f} | {shed_rate:.2f} |")


if __name__ == "__main__":
    main()
