"""The time, memory and disk that a whole run takes, predicted before it starts, and the plan that fits a limit of them.

An effort promises a time: recipes that would exceed it are left for more effort, and the plan says so. The unquantized
conversion of a backend is always kept, since the others are judged by it, unless the memory or the disk do not suffice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from edgehone.backends.base import EFFORTS, Effort
from edgehone.core.figure import Figure
from edgehone.core.sizes import shown
from edgehone.model.info import ModelInfo
from edgehone.plan import building, roofline_data
from edgehone.plan.expect import Expected

# Below this size plans are not cut for time: runs take minutes, and predictions are mostly fixed parts.
_ALWAYS_IN_TIME = 100_000_000


@dataclass(frozen=True)
class Measuring:
    """What an effort measures of each candidate: evaluation tokens, and benchmark rounds (data/efforts.toml).

    Each candidate has at least `least_rounds`; `requests` returns what the requests of a round take, given the seconds
    of one request. `tuning`: seconds for the rounds of the chosen candidate's settings.
    """

    tokens: int
    rounds: int
    budget: float
    least_rounds: int
    requests: Callable[[float], float]
    tuning: float = 0.0


@dataclass(frozen=True)
class RunLimits:
    """What a run may take: seconds, bytes of memory and of disk. None: no limit."""

    seconds: float | None = None
    memory: int | None = None
    disk: int | None = None


@dataclass(frozen=True)
class RunCost:
    """What a run takes: seconds by stage and in all, and the peak bytes of memory and of disk.

    `unknown`: recipes whose build time is not known, which the seconds do not contain.
    """

    stages: Mapping[str, Figure]
    seconds: Figure
    memory: int
    disk: int
    unknown: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {
            "seconds": self.seconds.to_json(),
            "stages": {name: one.to_json() for name, one in self.stages.items()},
            "memory_bytes": self.memory,
            "disk_bytes": self.disk,
            "unknown": list(self.unknown),
        }

    def after_reference(self, taken: float) -> RunCost:
        """Return the cost of the run once the reference has taken so many seconds.

        Builds and scores use all processors for arithmetic as it does, so they are predicted to be as much slower or
        quicker than expected. Rounds are not: they wait for undisturbed time.
        """
        expected = self.stages["reference"].value
        if not expected:
            return self
        ratio = taken / expected
        measured = Figure(taken, taken, taken, 1, "s")
        slower = {name: _times(self.stages[name], ratio) for name in ("builds", "scores")}
        stages = {**self.stages, "reference": measured, **slower}
        return replace(self, stages=stages, seconds=_sum(list(stages.values())))

    def sentence(self) -> str:
        """Return the prediction for people."""
        time = "an unknown time" if self.seconds.value is None else minutes(self.seconds)
        besides = (
            f" (without {', '.join(self.unknown)}, whose builds were never timed)" if self.unknown else ""
        )
        return (
            f"predicted: {time}{besides}, {shown(self.memory)} of memory, {shown(self.disk)} of disk; what an earlier "
            "run left in the store takes no time"
        )


def minutes(figure: Figure) -> str:
    """Return a predicted time: "12 minutes (6 to 24)"."""
    value, low, high = (float(one or 0.0) / 60 for one in (figure.value, figure.low, figure.high))
    digits = 0 if value >= 10 else 1
    return f"{value:.{digits}f} minutes ({low:.{digits}f} to {high:.{digits}f})"


@dataclass(frozen=True)
class Costs:
    """Predicts runs of one model on this machine: `baseline` is the original, `compute` GFLOP/s in float32.

    `at_once` builds run at a time.
    """

    model: ModelInfo
    baseline: Expected
    measuring: Measuring
    compute: Figure
    at_once: int = 1

    def of(self, expected: Sequence[Expected]) -> RunCost:
        """Return the cost of a run with these recipes."""
        unknown = tuple(one.recipe.key for one in expected if one.build.value is None)
        stages = {
            "reference": self._reference(),
            "builds": _builds(expected),
            "scores": _sum([self._score(one) for one in (self.baseline, *expected)]),
            "rounds": self._rounds([self.baseline, *expected]),
            "tuning": self._tuning([self.baseline, *expected]),
        }
        needed = building.resources(self.model, [one.recipe for one in expected])
        running = (int(one.memory.value or 0) for one in expected if _copies_weights(one))
        builds = building.together(self.model, [one.recipe for one in expected], self.at_once)
        memory = max(builds, self._reference_memory(), *running)
        return RunCost(
            stages, _sum(list(stages.values())), memory, needed.disk + self._reference_disk(), unknown
        )

    def _reference(self) -> Figure:
        """The original in float32 on the evaluation text, with the first window scored again."""
        if self.model.format == "gguf":  # its own runtime scores the file as it is
            return self._score(self.baseline)
        if self.compute.value is None:
            return Figure.missing(str(self.compute.reason), "s")
        share = roofline_data.table()["building"]["reference_share"]
        operations = 2.0 * self.model.parameters * self.measuring.tokens
        # Each weight is read and made float32 twice: for all windows, and for the first one again.
        copied = 2 * 6.0 * self.model.parameters / roofline_data.table()["building"]["copied_bytes_per_s"]
        seconds = operations / (share * self.compute.value * 1e9) + copied + _START
        return Figure.prediction(seconds, roofline_data.table()["building"]["work_error"], "s")

    def _score(self, one: Expected) -> Figure:
        if one.prefill.value is None or not one.prefill.low or not one.prefill.high:
            return Figure.missing(str(one.prefill.reason), "s")
        # The output layer is computed for every token, in a prompt for the last one only.
        head = (self.model.vocabulary or 0) * (self.model.hidden_size or 0)
        body = max(self.model.parameters - head, self.model.parameters / 2)
        tokens = self.measuring.tokens * self.model.parameters / body
        return Figure(
            tokens / one.prefill.value + _START,
            tokens / one.prefill.high + _START,
            tokens / one.prefill.low + _START,
            0,
            "s",
            "predicted",
        )

    def _rounds(self, measured: Sequence[Expected]) -> Figure:
        """The first rounds of each candidate, its memory, and up to the budget for those that are close."""
        if missing := next((one.latency for one in measured if one.latency.value is None), None):
            return Figure.missing(str(missing.reason), "s")
        rounds = _sum([self._round(one) for one in measured])
        memory = _sum([self._opened(one, lambda latency: latency) for one in measured])

        def whole(once: float, more: float) -> float:
            contest = min(self.measuring.budget, (self.measuring.rounds - self.measuring.least_rounds) * once)
            return self.measuring.least_rounds * once + more + contest

        ends = zip(_ends(rounds), _ends(memory), strict=True)
        value, low, high = (whole(once, more) for once, more in ends)
        return Figure(value, low, high, 0, "s", "predicted")

    def _tuning(self, measured: Sequence[Expected]) -> Figure:
        """The budget; at most also the first rounds of two finalists and the original, which it does not limit."""
        if not self.measuring.tuning:
            return Figure(0.0, 0.0, 0.0, 0, "s", "predicted")
        ends = [self._round(one) for one in measured if one.latency.value is not None]
        free = self.measuring.least_rounds * 3 * max((float(one.value or 0.0) for one in ends), default=0.0)
        budget = self.measuring.tuning
        return Figure(budget, budget / 2, budget + free, 0, "s", "predicted")

    def _round(self, one: Expected) -> Figure:
        """A fresh process: load the weights, warm up, answer requests for the seconds of a round."""
        return self._opened(one, self.measuring.requests)

    def _opened(self, one: Expected, answers: Callable[[float], float]) -> Figure:
        """A process that loads the weights and answers, for the seconds that `answers` makes of those of a request."""
        size = float(one.bytes.value or self.model.bytes)
        load = _START + size / roofline_data.table()["building"]["copied_bytes_per_s"]
        value, low, high = (load + answers(end / 1e3) for end in _ends(one.latency))
        return Figure(value, low, high, 0, "s", "predicted")

    def _reference_memory(self) -> int:
        """One block in float32, its inputs' scores, and a part of the head."""
        blocks = max(self.model.layers or 1, 1)
        return int(700e6 + 4 * self.model.parameters / blocks)

    def _reference_disk(self) -> int:
        """The original's log-probabilities, of which at most 1 GiB is kept, and the activations of a sensitivity."""
        kept = min(1 << 30, 4 * self.measuring.tokens * (self.model.vocabulary or 0))
        return kept + 4 * 4096 * (self.model.hidden_size or 0) * ((self.model.layers or 0) + 2)


_UNQUANTIZED_BITS = 16
# Seconds in which a worker process starts and imports a framework.
_START = 3.0


def _copies_weights(one: Expected) -> bool:
    """Whether the runtime holds weights that the system cannot drop when memory is short, as far as is known."""
    known = roofline_data.table()["building"]["memory"]
    # A quantized file as it is counts as exact, too.
    unquantized = one.recipe.exact and (one.recipe.bits is None or one.recipe.bits >= _UNQUANTIZED_BITS)
    return not (unquantized and known.get(one.recipe.backend, known["other"])["maps"])


def _builds(expected: Sequence[Expected]) -> Figure:
    """All builds of known time. What several recipes of a backend share runs once for each changed checkpoint."""
    known = [one for one in expected if one.build.value is not None]
    shared = {
        (one.recipe.backend, repr(sorted(one.recipe.surgery.items())), name): part
        for one in reversed(known)
        for name, part in one.shared.items()
    }
    return _sum([*(_minus(one.build, _sum([*one.shared.values()])) for one in known), *shared.values()])


def _minus(whole: Figure, part: Figure) -> Figure:
    """Return the difference; that of errors which are fully correlated."""
    value, low, high = (max(a - b, 0.0) for a, b in zip(_ends(whole), _ends(part), strict=True))
    return Figure(value, low, high, 0, "s", "predicted")


def _times(figure: Figure, factor: float) -> Figure:
    """Return a multiple of a figure; a missing one stays missing."""
    if figure.value is None:
        return figure
    value, low, high = (factor * end for end in _ends(figure))
    return Figure(value, low, high, 0, "s", "predicted")


def _ends(figure: Figure) -> tuple[float, float, float]:
    """Return a figure's value and both ends; 0 for what is not known."""
    return float(figure.value or 0.0), float(figure.low or 0.0), float(figure.high or 0.0)


def _sum(figures: Sequence[Figure]) -> Figure:
    """Return the sum; missing if one of them is. The ends are those of fully correlated errors."""
    for one in figures:
        if one.value is None:
            return one
    value, low, high = (
        (sum(end) for end in zip(*map(_ends, figures), strict=True)) if figures else (0.0, 0.0, 0.0)
    )
    return Figure(value, low, high, 0, "s", "predicted")


@dataclass(frozen=True)
class Fitted:
    """The recipes of a run that fit the limits, its cost, and why the others were left out, by their keys.

    `tokens` of evaluation text, if fewer are scored than the effort has, so that its time is kept.
    """

    expected: tuple[Expected, ...]
    cost: RunCost
    left_out: Mapping[str, str]
    tokens: int | None = None


def fit(
    costs: Costs, wanted: Sequence[Expected], spare: Sequence[Expected], effort: Effort, limits: RunLimits
) -> Fitted:
    """Choose the recipes that fit, by the order of each backend, one of each in turn.

    `spare` are recipes of more effort: for one that takes too long, the nearest in bits of the same backend that needs
    no calibration is taken instead. A backend of which only the conversion fits is left out.
    """
    found = _fit(costs, wanted, spare, effort, limits)
    quantized = {one.recipe.backend for one in found.expected if not one.recipe.exact}
    offered = dict.fromkeys(one.recipe.backend for one in wanted if not one.recipe.exact)
    alone = [backend for backend in offered if backend not in quantized]
    if not quantized or not alone:
        return found
    # One at a time, the last one first: in its time the others may fit.
    rest, more = ([one for one in all_of if one.recipe.backend != alone[-1]] for all_of in (wanted, spare))
    again = fit(costs, rest, more, effort, limits)
    missing = {
        one.recipe.key: found.left_out.get(one.recipe.key, "none of its backend's quantized recipes fits")
        for one in wanted
        if one.recipe.backend == alone[-1]
    }
    return Fitted(again.expected, again.cost, {**again.left_out, **missing})


def _fit(
    costs: Costs, wanted: Sequence[Expected], spare: Sequence[Expected], effort: Effort, limits: RunLimits
) -> Fitted:
    """Choose the recipes that fit; `fit` explains how."""
    left_out: dict[str, str] = {}
    kept: list[Expected] = []
    refused: set[str] = set()
    queue = _in_turns(wanted)
    while queue:
        one = queue.pop(0)
        if one.recipe.backend in refused:
            left_out[one.recipe.key] = "the unquantized conversion of its backend does not fit"
            continue
        reason = _too_much(costs, kept, one, effort, limits)
        if reason is None:
            kept.append(one)
            continue
        left_out[one.recipe.key] = reason
        if one.recipe.exact:
            refused.add(one.recipe.backend)
        elif one.recipe.calibrated and (other := _instead(one, spare, [*kept, *queue])):
            queue.append(other)
    order = {one.recipe.key: at for at, one in enumerate((*wanted, *spare))}
    backends = list(dict.fromkeys(one.recipe.backend for one in wanted))
    kept.sort(key=lambda one: (backends.index(one.recipe.backend), order[one.recipe.key]))
    return Fitted(tuple(kept), costs.of(kept), left_out)


def _in_turns(wanted: Sequence[Expected]) -> list[Expected]:
    """Return the exact recipes, then the first of each backend, then the second of each, and so on."""
    exact = [one for one in wanted if one.recipe.exact]
    by_backend: dict[str, list[Expected]] = {}
    for one in wanted:
        if not one.recipe.exact:
            by_backend.setdefault(one.recipe.backend, []).append(one)
    rows = zip_longest(*by_backend.values())
    return [*exact, *(one for row in rows for one in row if one is not None)]


def _instead(one: Expected, spare: Sequence[Expected], present: Sequence[Expected]) -> Expected | None:
    """Return the recipe to try in place of a calibrated one that does not fit; None if there is none near."""
    known = {other.recipe.key for other in present}
    near = [
        other
        for other in spare
        if other.recipe.backend == one.recipe.backend
        and not other.recipe.calibrated
        and other.recipe.key not in known
        and abs((other.recipe.bits or 0) - (one.recipe.bits or 0)) < 1
    ]
    return min(near, key=lambda other: abs((other.recipe.bits or 0) - (one.recipe.bits or 0)), default=None)


def _too_much(
    costs: Costs, kept: Sequence[Expected], one: Expected, effort: Effort, limits: RunLimits
) -> str | None:
    """Return why a recipe does not fit beside the others, or None."""
    if limits.memory is not None and (reason := _too_much_memory(costs.model, one, limits.memory)):
        return reason
    whole = costs.of([*kept, one])
    if limits.disk is not None and whole.disk > limits.disk:
        return f"the run would need {shown(whole.disk)} of disk, and {shown(limits.disk)} may be used"
    # A run of conversions alone would have nothing to choose from.
    plain = not one.recipe.calibrated and one.build.value is not None
    needed = one.recipe.exact or (plain and all(other.recipe.exact for other in kept))
    if limits.seconds is None or needed or costs.model.parameters < _ALWAYS_IN_TIME:
        return None
    more = "--time" if effort == EFFORTS[-1] else f"--effort {EFFORTS[EFFORTS.index(effort) + 1]} or --time"
    if one.build.value is None:
        return f"left for {more}: {one.build.reason}"
    if whole.seconds.value is not None and whole.seconds.value > limits.seconds:
        others = costs.of(kept).seconds
        return (
            f"left for {more}: it would take {minutes(_minus(whole.seconds, others))} more, and the others "
            f"{(others.value or 0.0) / 60:.1f} of the "
            f"{limits.seconds / 60:.0f} minutes that --effort {effort} promises"
        )
    return None


def _too_much_memory(model: ModelInfo, one: Expected, limit: int) -> str | None:
    """Return which step of a recipe needs more memory than the limit, or None."""
    building_it = building.memory(one.recipe, model)
    running_it = int(one.memory.value or 0) if _copies_weights(one) else 0
    for step, needed in (("its build", building_it), ("running it", running_it)):
        if needed > limit:
            return f"{step} needs {shown(needed)} of memory, and {shown(limit)} may be used"
    return None


def promised(seconds: float, model: ModelInfo) -> float | None:
    """Return the seconds that an effort promises: more, in proportion, above a billion parameters."""
    return seconds * max(1.0, model.parameters / 1e9) if seconds else None
