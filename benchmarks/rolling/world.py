"""Simulated releases: a champion under changing load, and challengers that are good or bad in known ways.

Times are log-normal and share a load that wanders (an AR(1) process in its logarithm), so requests close in time
resemble each other. Faults are there from the start, from the first live request on, or only under a quarter of the
load. All is drawn from one seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgehone.rollout.decision.judge import Judge, Verdict
from edgehone.rollout.decision.memory import MemorySample
from edgehone.rollout.decision.outcome import Outcome
from edgehone.rollout.decision.rules import Rules

Array = NDArray[np.float64]
Kind = Literal["good", "errors", "latency", "quality", "memory", "leak"]
KINDS: tuple[Kind, ...] = ("good", "errors", "latency", "quality", "memory", "leak")
# Copies that the server sends at the same time, and simulated time after which a release is left undecided.
_COPIES, _MOST_SECONDS = 2, 86_400.0


@dataclass(frozen=True)
class Release:
    """How a challenger differs from its champion. The first five are the champion's and of the traffic."""

    kind: Kind
    rate: float  # requests in a second
    median: float  # seconds
    spread: float  # of the logarithm of times
    failing: float  # share of the champion's requests that fail
    megabytes: float  # the champion's memory
    classifies: bool  # the entropy of each answer is known; else of one in 20
    begins: float = 0.0  # weight from which on the fault is there; 0: from the first copy on
    more_failing: float = 0.0
    slower: float = 1.0
    slow_share: float = 0.0  # of the requests take three times as long
    disagrees: float = 0.03
    less_certain: float = 0.0
    memory: float = 1.0
    contended: float = 0.0  # share of the copies that take twice as long beside all live requests
    leaks: float = 0.0  # share of the champion's memory in 10 s


@dataclass(frozen=True)
class Result:
    """How a release ended: its status, reason, stage, the share of all requests that the challenger has answered."""

    release: Release
    status: str
    reason: str
    stage: str
    share: float
    seconds: float
    requests: int


def draw(kind: Kind, random: np.random.Generator) -> Release:
    """Return a release of a kind. Good ones are within every margin of rules.toml, bad ones clearly beyond one."""
    between = random.uniform
    base = Release(
        kind, float(np.exp(between(np.log(5), np.log(50)))), float(np.exp(between(np.log(0.005), np.log(1)))),
        between(0.2, 0.8), float(random.choice([0.0, 0.001, 0.01, 0.02])), between(200, 4000), random.random() < 0.5,
        begins=float(random.choice([0.0, 0.0, 0.0, 0.01, 0.25])), slower=between(0.7, 1.02),
        disagrees=between(0.0, 0.06), memory=between(0.7, 1.1), contended=between(0.0, 0.3),
    )  # fmt: skip
    if kind == "good":
        return base
    changed = {**base.__dict__}
    if kind == "errors":
        changed["more_failing"] = float(np.exp(between(np.log(0.04), 0)))
    elif kind == "latency" and random.random() < 0.5:
        # A longer median that also exceeds the margin where times vary much.
        changed["slower"] = between(1.3, 2.0) * math.exp(0.5 * base.spread)
    elif kind == "latency":
        changed |= {"slow_share": between(0.2, 0.5)}
    elif kind == "quality" and base.classifies and random.random() < 0.5:
        changed["less_certain"] = between(0.15, 0.4)
    elif kind == "quality":
        changed |= {"disagrees": between(0.25, 0.9), "begins": 0.0}  # answers are compared as copies
    elif kind == "memory":
        changed["memory"] = 1.3 + 70 / base.megabytes + between(0.0, 2.0)
    else:
        changed |= {"leaks": float(np.exp(between(np.log(0.0015), np.log(0.02))))}
        changed["begins"] = float(random.choice([0.0, 0.01]))
    return Release(**changed)


class World:
    """The traffic of one release, second by second."""

    def __init__(self, release: Release, random: np.random.Generator) -> None:
        self.release, self._random = release, random
        self.load, self.leaked, self.clock = 0.0, 0.0, 0.0

    def second(self, weight: float) -> None:
        """A second passes."""
        self.load = 0.98 * self.load + self._random.normal(0, 0.05)
        self.clock += 1
        if self.has_fault(weight):
            self.leaked += self.release.leaks / 10

    def has_fault(self, weight: float) -> bool:
        """Whether the fault is there at this weight."""
        return weight >= self.release.begins

    def outcomes(self, count: int, challenger: bool, weight: float) -> list[Outcome]:
        """Return the outcomes of so many requests in this second."""
        one, random = self.release, self._random
        bad = challenger and self.has_fault(weight)
        failed = random.random(count) < one.failing + (one.more_failing if bad else 0)
        seconds = one.median * np.exp(self.load + one.spread * random.normal(size=count))
        if challenger:
            seconds *= one.slower if bad or one.slower < 1.02 else 1.0
            if weight == 0:
                seconds *= np.where(random.random(count) < one.contended, 2.0, 1.0)
            if bad and one.slow_share:
                seconds *= np.where(random.random(count) < one.slow_share, 3.0, 1.0)
        entropy = np.clip(random.normal(0.4, 0.15, count) + (one.less_certain if bad else 0), 0, 1)
        known = np.ones(count, bool) if one.classifies else random.random(count) < 0.05
        return [
            Outcome(bool(f), None if f else float(s), float(e) if k and not f else None)
            for f, s, e, k in zip(failed, seconds, entropy, known, strict=True)
        ]

    def disagreement(self) -> float:
        """Return whether the challenger's answer to a copy differs."""
        return float(self._random.random() < self.release.disagrees)

    def memory(self, weight: float) -> MemorySample:
        """Return the memory of both, with caches that fill with the first requests, and noise."""
        one, noise = self.release, self._random.normal(0, 0.0003, 2)
        filled = 0.05 * (1 - math.exp(-self.clock / 60))
        factor = one.memory if one.kind != "memory" or self.has_fault(weight) else 1.0
        mine = factor * (1 + filled) + self.leaked + noise[0]
        return MemorySample((1.05 + noise[1]) * one.megabytes * 1e6, mine * one.megabytes * 1e6, 64e9)


def simulate(seed: int, kind: Kind, rules: Rules, strategy: str = "ramp") -> Result:
    """Run a release through the judge, with a look after each request to the challenger."""
    random = np.random.default_rng(seed)
    release = draw(kind, random)
    world, judge = World(release, random), Judge(rules, rules.strategies[strategy])
    answered = [0, 0]  # by the champion, by the challenger
    while world.clock < _MOST_SECONDS:
        weight = judge.stage.weight
        world.second(weight)
        judge.passed(1.0)
        judge.sample(world.memory(weight), 1.0)
        for verdict in _requests(world, judge, answered, random):
            if verdict.action == "advance":
                if judge.last:
                    return _result(release, "promoted", verdict.reason, judge, answered, world)
                judge.advance()
                break  # the rest of this second is at the next stage
            if verdict.action != "wait":
                status = "rolled back" if verdict.action == "roll back" else "not enough traffic"
                return _result(release, status, verdict.reason, judge, answered, world)
    return _result(release, "undecided", "; ".join(judge.lacking()), judge, answered, world)


def _requests(
    world: World, judge: Judge, answered: list[int], random: np.random.Generator
) -> Iterator[Verdict]:
    """Yield the judge's verdict after each request to the challenger in a second, and at its end."""
    one, stage = world.release, judge.stage
    count = int(random.poisson(one.rate))
    if stage.shadow:
        answered[0] += count
        copies = min(count, max(1, int(_COPIES / one.median)))
        pairs = zip(world.outcomes(copies, False, 0.0), world.outcomes(copies, True, 0.0), strict=True)
        for mine, copy in pairs:
            both = not mine.failed and not copy.failed
            disagrees = world.disagreement() if both else None
            judge.pair(mine, Outcome(copy.failed, copy.seconds, copy.entropy, disagrees))
            yield judge.verdict()
        yield judge.verdict()
        return
    arms = random.random(count) < stage.weight
    of = [iter(world.outcomes(int((arms == arm).sum()), arm, stage.weight)) for arm in (False, True)]
    for challenger in arms:
        answered[int(challenger)] += 1
        judge.outcome(bool(challenger), next(of[int(challenger)]))
        if challenger:
            yield judge.verdict()
    yield judge.verdict()


def _result(
    release: Release, status: str, reason: str, judge: Judge, answered: list[int], world: World
) -> Result:
    share = answered[1] / max(sum(answered), 1)
    return Result(release, status, reason, judge.stage.name, share, world.clock, answered[1])
