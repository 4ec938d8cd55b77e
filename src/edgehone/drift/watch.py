"""The watch: samples in, one signal out; its state survives a restart of the server."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from edgehone.core.arrays import Array, NDArray, np
from edgehone.core.errors import InputError
from edgehone.drift import ranks
from edgehone.drift.bets import Scores, Wealth
from edgehone.drift.dependence import Inflation
from edgehone.drift.reference import Reference
from edgehone.drift.sample import Sample
from edgehone.drift.settings import detector_of, settings
from edgehone.drift.signal import Evidence, Signal
from edgehone.drift.values import Label, Seen
from edgehone.drift.words import Finding, tell

FORMAT = "edgehone-drift-watch/1"
_RECENT = 64
# Below a tenfold evidence nothing is said in words.
_TOLD = 1.0


class DriftWatch:
    """Watches one model's requests against a reference. Not thread-safe: call it from one thread.

    Requests are tested in batches of 32; `signal` is about the batches so far. If reference and traffic are
    exchangeable, the probability that `signal.alarm` is EVER set is at most `alpha`.
    """

    def __init__(self, reference: Reference, alpha: float = 0.01) -> None:
        if not 0 < alpha < 1:
            raise InputError(f"alpha is {alpha!r}; expected a probability between 0 and 1", hint="try 0.01")
        chosen = settings()
        self.reference = reference
        self.alpha = alpha
        self._names = reference.names
        self._tests = Scores.of(np.array(reference.tolerances), chosen.tails, chosen.bets)
        self._detectors = tuple(dict.fromkeys(map(detector_of, self._names)))
        self._member = np.array(
            [[detector_of(name) == one for name in self._names] for one in self._detectors], float
        )
        self._member /= self._member.sum(1, keepdims=True)
        self._score_weights = np.array([self._weights_of(detector_of(name)) for name in self._names])
        shares = np.array([chosen.detectors[one].share for one in self._detectors], float)
        self._shares = shares / shares.sum()
        self._wealth = Wealth((len(self._names), len(self._tests.scores), len(chosen.bets)))
        self._inflation = Inflation.from_json(reference.inflation)
        self._counts = reference.counts.copy()
        self._most = reference.pool_sizes(chosen.pool_errors)
        self._random = np.random.Generator(np.random.PCG64(int(reference.digest[:16], 16)))
        self._pending: list[Seen] = []
        self._rows = np.empty((0, len(reference.base)))  # pending samples that are already reduced to values
        self._recent = np.full((len(self._names), _RECENT), np.nan)
        self._evidence = np.zeros(len(self._detectors))
        self._alarms = np.zeros(len(self._detectors), bool)
        self._ignored: dict[str, int] = {}
        self._requests = 0  # all that were observed
        self._tested = 0
        self._signal: Signal | None = None

    def observe(self, sample: Sample) -> None:
        """Take one answered request."""
        self._take([sample], requests=1)

    def observe_all(self, samples: Sequence[Sample]) -> None:
        """Take answered requests in their order. The result is that of taking one by one, and costs less."""
        self._take(samples, requests=1)

    def correct(self, correct: bool) -> None:
        """Take a label that came later than its request."""
        self._take([Label(correct)], requests=0)

    def _take(self, seen: Sequence[Seen], requests: int) -> None:
        """Take what was seen, each of which is so many requests, and test the batches that are full."""
        size, waiting, before = settings().batch, len(self._pending) + len(self._rows), self._requests
        self._pending += seen
        self._requests += requests * len(seen)
        full = (waiting + len(seen)) // size * size
        if not full:
            return
        self._reduce()
        bins, table = self.reference.bins(self._rows[:full])
        self._rows = self._rows[full:]
        for start in range(0, full, size):
            end = start + size
            self._test(bins[:, start:end], table[start:end], before + requests * (end - waiting))

    def _test(self, bins: NDArray[np.int64], table: Array, requests: int) -> None:
        """Test a batch, given as bins and values, after so many requests."""
        p = ranks.p_values(bins, self._counts, self._random.random(bins.shape))
        known = bins != ranks.BINS
        factors = self._tests.factors(p)
        inflation = self._inflation.factor()
        inflated = inflation > 1
        if inflated.any():
            factors[inflated] **= 1 / inflation[inflated, None, None]
        self._wealth.bet(factors, known.any(1), self._tested)
        self._inflation.observe(p)
        self._evidence = np.log10(self._member @ self._wealth.evidence(self._score_weights))
        self._alarms |= self._evidence >= self._needed
        # A full pool, and that of a detector that has raised an alarm, stays as it is.
        grows = np.add.reduce(self._counts, axis=1) < self._most
        if self._alarms.any():
            grows &= ~self._member[self._alarms].any(0)
        if grows.any():
            self._counts += ranks.count(bins) * grows[:, None]
        self._remember(table.T, known)
        self._tested = requests
        self._signal = None

    def _reduce(self) -> None:
        if self._pending:
            rows = self.reference.rows(self._pending, self._ignored)
            self._rows = np.concatenate([self._rows, rows])
            self._pending.clear()

    def _remember(self, table: Array, known: NDArray[np.bool_]) -> None:
        """Keep the latest values, from (names, requests), for findings in words."""
        size = table.shape[1]
        whole = known.all(1)
        if whole.all():
            self._recent = np.concatenate([self._recent[:, size:], table], axis=1)
            return
        self._recent[whole] = np.concatenate([self._recent[whole, size:], table[whole]], axis=1)
        for row in np.flatnonzero(known.any(1) & ~whole):
            fresh = table[row, known[row]]
            self._recent[row] = np.concatenate([self._recent[row, len(fresh) :], fresh])

    @cached_property
    def _needed(self) -> Array:
        return np.asarray(-np.log10(self.alpha * self._shares))

    def _weights_of(self, detector: str) -> Array:
        """Return the weights of the scores in a detector's mixture."""
        wanted = settings().detectors[detector].directions
        location = np.array([float(one in ("up", "down") and one in wanted) for one in self._tests.scores])
        other = np.array([float(one in wanted) for one in self._tests.scores]) - location
        split = settings().location_weight if other.any() else 1.0
        return np.asarray(split * location / location.sum() + (1 - split) * other / max(other.sum(), 1))

    @property
    def signal(self) -> Signal:
        """The evidence of all batches so far."""
        if self._signal is None or self._signal.requests != self._requests:
            evidence = tuple(map(self._told, range(len(self._detectors))))
            alarm = bool(self._alarms.any())
            self._signal = Signal(
                alarm, self._since() if alarm else None, self._requests, evidence, dict(self._ignored)
            )
        return self._signal

    def _told(self, row: int) -> Evidence:
        name = self._detectors[row]
        log10 = float(self._evidence[row])
        alarm = bool(self._alarms[row])
        direction, changed = "", ""
        if alarm or log10 >= _TOLD:
            value, score, _ = self._leader(row)
            recent = self._recent[value]
            found = Finding(
                self._names[value],
                self._tests.scores[score],
                recent[~np.isnan(recent)],
                self.reference.quantities[value],
            )
            direction = found.direction
            changed = tell(found, self.reference.transforms.languages or (), self.reference.languages)
        return Evidence(
            name, settings().detectors[name].kind, log10, float(self._needed[row]), float(self._shares[row]), alarm,
            direction, changed,
        )  # fmt: skip

    def _leader(self, row: int) -> tuple[int, int, int]:
        """Return the value, score and bet with the most evidence of a detector."""
        evidence = (
            self._wealth.wealth * self._score_weights[:, :, None] * (self._member[row] > 0)[:, None, None]
        )
        value, score, bet = np.unravel_index(int(evidence.argmax()), evidence.shape)
        return int(value), int(score), int(bet)

    def _since(self) -> int:
        """Return how many requests ago the change began, by the last restart of the CUSUM of the leading test."""
        row = int(np.argmax(np.where(self._alarms, self._evidence - self._needed, -math.inf)))
        return self._requests - int(self._wealth.start[self._leader(row)])

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON data. It holds counts and values of the last 64 requests, no prompt."""
        self._reduce()
        return {
            "format": FORMAT,
            "reference": self.reference.digest,
            "alpha": self.alpha,
            "wealth": self._wealth.to_json(),
            "inflation": self._inflation.to_json(),
            "counts": self._counts.tolist(),
            "random": self._random.bit_generator.state,
            "rows": _with_none(self._rows),
            "recent": _with_none(self._recent),
            "evidence": self._evidence.tolist(),
            "alarms": self._alarms.tolist(),
            "ignored": dict(self._ignored),
            "requests": self._requests,
            "tested": self._tested,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], reference: Reference) -> DriftWatch:
        """Continue from a state. Raises InputError if it is of another format or reference, or damaged."""
        hint = "start a new watch: delete the stored state"
        found = data.get("format") if isinstance(data, Mapping) else type(data).__name__
        if found != FORMAT:
            raise InputError(
                f"the state of the drift watch has the format {found!r}; expected {FORMAT!r}", hint=hint
            )
        if data.get("reference") != reference.digest:
            raise InputError(
                f"the state of the drift watch is about another reference ({str(data.get('reference'))[:12]}…) than "
                f"this one ({reference.digest[:12]}…)",
                hint=hint,
            )
        try:
            watch = cls(reference, data["alpha"])
            watch._restore(data)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"the state of the drift watch is damaged: {error}", hint=hint) from error
        return watch

    def _restore(self, data: Mapping[str, Any]) -> None:
        wealth, counts = Wealth.from_json(data["wealth"]), np.array(data["counts"], np.int64)
        if wealth.wealth.shape != self._wealth.wealth.shape or counts.shape != self._counts.shape:
            raise ValueError(f"tables of {wealth.wealth.shape} and {counts.shape}")
        self._wealth, self._counts = wealth, counts
        self._inflation = Inflation.from_json(data["inflation"])
        self._random.bit_generator.state = data["random"]
        self._rows = np.array(data["rows"], np.float64).reshape(-1, len(self.reference.base))
        self._recent = np.array(data["recent"], np.float64).reshape(self._recent.shape)
        self._evidence = np.array(data["evidence"], np.float64).reshape(self._evidence.shape)
        self._alarms = np.array(data["alarms"], bool).reshape(self._alarms.shape)
        self._ignored = {str(name): int(count) for name, count in data["ignored"].items()}
        self._requests, self._tested = int(data["requests"]), int(data["tested"])


def _with_none(table: Array) -> list[list[float | None]]:
    """Return a table as JSON data, with null for NaN."""
    return [[None if math.isnan(one) else one for one in row] for row in table.tolist()]
