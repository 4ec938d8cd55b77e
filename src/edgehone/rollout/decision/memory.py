"""Memory of the challenger: limits, and the test for a leak.

A leak: over windows of some seconds, the peak of the challenger's memory beyond the champion's. If such peaks are
exchangeable (no trend), the t-th is the largest so far with a probability of 1/t at most. The bets against that
tolerate records in a further share of the windows, for caches that fill. They are e-processes like those of
requests, so looking at each window raises no error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgehone.rollout.decision.rules import LeakRules, MemoryRules

_MEGABYTE = 1e6
_BET = 0.9


@dataclass(frozen=True)
class MemorySample:
    """Bytes of resident memory of both engines, and what the machine has left. None: not known."""

    champion: float | None
    challenger: float | None
    available: float | None


@dataclass
class Memory:
    """What is known of the memory, as JSON values."""

    champion_peak: float = 0.0
    challenger_peak: float = 0.0
    available: float | None = None
    over: int = 0  # samples in a row above the limit
    scarce: int = 0  # samples in a row with too little left
    # The leak: windows of this stage, time and peak of the running one, the largest peak before, evidence.
    windows: int = 0
    window_age: float = 0.0
    window_peak: float | None = None
    largest: float | None = None
    first: float | None = None
    wealth: float = 1.0

    def add(
        self, sample: MemorySample, seconds: float, rules: MemoryRules, leak: LeakRules, *, leaks: bool
    ) -> None:
        """Add a sample, taken so many seconds after the last one. `leaks`: this stage is tested for leaks."""
        if sample.available is not None:
            self.available = sample.available
            few = sample.available < rules.least_available_megabytes * _MEGABYTE
            self.scarce = self.scarce + 1 if few else 0
        if sample.champion is None or sample.challenger is None:
            return
        self.champion_peak = max(self.champion_peak, sample.champion)
        self.challenger_peak = max(self.challenger_peak, sample.challenger)
        self.over = self.over + 1 if sample.challenger > self.limit(rules) else 0
        if leaks:
            self._window(sample.challenger - sample.champion, seconds, leak)

    def limit(self, rules: MemoryRules) -> float:
        """Return the most bytes that the challenger may take."""
        return self.champion_peak * rules.factor + rules.plus_megabytes * _MEGABYTE

    def next_stage(self) -> None:
        """Begin a stage: its load is another one, and so may be the level."""
        self.windows, self.window_age, self.wealth = 0, 0.0, 1.0
        self.window_peak = self.largest = self.first = None

    def problem(self, rules: MemoryRules, leak: LeakRules, alpha: float) -> str | None:
        """Return why the challenger must go; None if nothing is wrong. `alpha` is that of the leak, in this stage."""
        if self.over >= rules.samples:
            return (
                f"memory: {self.challenger_peak / _MEGABYTE:.0f} MB, and the limit is "
                f"{self.limit(rules) / _MEGABYTE:.0f} MB ({rules.factor:g} times the champion's peak + "
                f"{rules.plus_megabytes:g} MB)"
            )
        if self.scarce >= rules.samples and self.available is not None:
            return (
                f"memory: the machine has {self.available / _MEGABYTE:.0f} MB left, less than "
                f"{rules.least_available_megabytes:g} MB"
            )
        if self.wealth >= 1 / alpha and self.largest is not None and self.first is not None:
            grown, seconds = self.largest - self.first, self.windows * leak.window_seconds
            return (
                f"leak: {grown / _MEGABYTE:.1f} MB more than the champion in {seconds:.0f} s, rising from window to "
                f"window (evidence {self.wealth:.0f})"
            )
        return None

    def _window(self, excess: float, seconds: float, leak: LeakRules) -> None:
        self.window_peak = excess if self.window_peak is None else max(self.window_peak, excess)
        self.window_age += seconds
        if self.window_age < leak.window_seconds:
            return
        peak, self.window_peak, self.window_age = self.window_peak, None, 0.0
        self.windows += 1
        if self.windows <= leak.settle_windows or self.largest is None or self.first is None:
            self.largest = self.first = peak
            return
        # One window is known before the first bet, so the chance of a record is 1/2, 1/3, ...
        chance = min(1.0, 1 / (self.windows - leak.settle_windows + 1) + leak.tolerance)
        record = peak > self.largest + leak.least_growth * self.champion_peak
        self.wealth *= 1 + _BET * ((1 if record else 0) - chance)
        if record:
            self.largest = peak

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Memory:
        """Read what `to_json` returned."""
        return cls(**data)
