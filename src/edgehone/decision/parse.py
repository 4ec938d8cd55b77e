"""A decision out of JSON that may have been edited, cut, or written by something else.

`decision` and `candidate` are strict: the first departure raises InputError. `salvage` keeps what fits, puts a missing
figure or nothing in the place of what does not, and tells each departure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn, get_args

from edgehone.core.errors import InputError
from edgehone.core.figure import Figure
from edgehone.decision.decision import (
    CONVERSION_FIGURES,
    SCHEMA,
    UNITS,
    Candidate,
    Conversion,
    Decision,
    Status,
)
from edgehone.decision.gates import Verdict

_HINT = "the file was changed, cut or written by something else; run edgehone optimize again"
_FOREIGN = f"this edgehone reads schema {SCHEMA}; use the edgehone that wrote it, or optimize again"
# Is told a departure and what to do about it; does not return where reading is strict.
Complain = Callable[[str, str], None]


def decision(data: Any, where: str = "decision.json") -> Decision:
    """The decision in the data. Raises InputError with the place and the offending value where it departs."""
    return _decision(data, where, _strict)


def candidate(data: Any, where: str = "candidate") -> Candidate:
    """The candidate in the data. Raises InputError likewise."""
    return _candidate(data, where, _strict)


def salvage(data: Any, where: str = "decision.json") -> tuple[Decision, list[str]]:
    """What can be read of a decision, and every departure in a sentence."""
    told: list[str] = []
    return _decision(data, where, lambda message, hint: told.append(message)), told


def _strict(message: str, hint: str) -> NoReturn:
    raise InputError(message, hint=hint)


@dataclass(frozen=True)
class _Kind:
    """What a value must be, how that is called, and what stands in its place where it is not."""

    fits: Callable[[Any], bool]
    name: str
    blank: Callable[[], Any]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_TEXT = _Kind(lambda v: isinstance(v, str), "a text", str)
_LIST = _Kind(lambda v: isinstance(v, list), "a list", list)
_BOOL = _Kind(lambda v: isinstance(v, bool), "true or false", bool)
_TABLE = _Kind(lambda v: isinstance(v, Mapping), "a table", dict)
_COUNT = _Kind(_is_count, "a whole number of 0 or more", int)
_NUMBER = _Kind(_is_number, "a number", float)
_STATUS = _Kind(lambda v: v in get_args(Status), f"one of {', '.join(get_args(Status))}", lambda: "skipped")


def _optional(kind: _Kind) -> _Kind:
    return _Kind(lambda v: v is None or kind.fits(v), kind.name, lambda: None)


class _Taker:
    """Takes a table's keys one by one, each checked, and at the `end` complains of those left."""

    def __init__(self, data: Any, where: str, complain: Complain) -> None:
        self.where, self.complain = where, complain
        self.data = dict(self.checked(data, _TABLE, where))

    def __call__(self, key: str, kind: _Kind, otherwise: Any = None) -> Any:
        if key not in self.data:
            if otherwise is None:
                self.complain(f"{self.where} has no {key!r}", _HINT)
            return kind.blank() if otherwise is None else otherwise
        return self.checked(self.data.pop(key), kind, f"{self.where}: {key}")

    def each(self, key: str, kind: _Kind, otherwise: Any = None) -> list[tuple[Any, str]]:
        """The members of a list that are of the kind, each with its place."""
        members = enumerate(self(key, _LIST, otherwise))
        placed = [(value, f"{self.where}: {key}[{i}]") for i, value in members]
        return [(v, at) for v, at in placed if kind.fits(self.checked(v, kind, at)) and kind.fits(v)]

    def checked(self, value: Any, kind: _Kind, where: str) -> Any:
        if kind.fits(value):
            return value
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        self.complain(f"{where} is {shown}, not {kind.name}", _HINT)
        return kind.blank()

    def end(self) -> None:
        if self.data:
            self.complain(f"{self.where} has unknown keys: {', '.join(map(repr, self.data))}", _HINT)


def _decision(data: Any, where: str, complain: Complain) -> Decision:
    take = _Taker(data, where, complain)
    schema = take("schema", _COUNT)
    if schema != SCHEMA and "schema" in (data if isinstance(data, Mapping) else ()):
        complain(f"{where} has schema {schema}, not {SCHEMA}", _FOREIGN)
    made = Decision(
        chosen=take("chosen", _optional(_TEXT)),
        reason=take("reason", _TEXT),
        device=take("device", _TABLE),
        model=take("model", _TABLE),
        workload=take("workload", _TABLE),
        requirements=_requirements(take("requirements", _TABLE), where, complain),
        baseline=_candidate(take("baseline", _TABLE), f"{where}: baseline", complain),
        candidates=tuple(_candidate(one, at, complain) for one, at in take.each("candidates", _TABLE)),
        # Decisions made before there was this table have none.
        conversions=tuple(
            _conversion(one, at, complain) for one, at in take.each("conversions", _TABLE, otherwise=[])
        ),
        notes=tuple(one for one, _ in take.each("notes", _TEXT)),
        versions=take("versions", _TABLE),
        edgehone=take("edgehone", _TEXT),
        created=take("created", _TEXT),
    )
    take.end()
    if made.chosen is not None and made.chosen not in {c.key for c in made.candidates}:
        complain(f"{where}: chosen is {made.chosen!r}, which is no candidate", _HINT)
        made = replace(made, chosen=None)
    return made


def _requirements(data: Mapping[str, Any], where: str, complain: Complain) -> Mapping[str, Any]:
    """The open table, with weights that can be reckoned with."""
    if "weights" not in data:
        return data
    take = _Taker(data["weights"], f"{where}: requirements.weights", complain)
    weights = {name: take(name, _NUMBER) for name in list(take.data)}
    return {**data, "weights": weights}


def _candidate(data: Any, where: str, complain: Complain) -> Candidate:
    take = _Taker(data, where, complain)
    figures = take("figures", _TABLE)
    made = Candidate(
        key=take("key", replace(_TEXT, blank=lambda: where.rpartition(": ")[2])),
        backend=take("backend", _TEXT),
        recipe=take("recipe", _TABLE),
        status=take("status", _STATUS),
        error=take("error", _optional(_TEXT)),
        log=take("log", _optional(_TEXT)),
        bytes=take("bytes", _optional(_COUNT)),
        figures={n: _figure(value, f"{where}.figures.{n}", complain) for n, value in figures.items()},
        verdicts=tuple(_verdict(v, at, complain) for v, at in take.each("verdicts", _TABLE)),
        on_frontier=take("on_frontier", _BOOL),
        facts=take("facts", _TABLE),
    )
    take.end()
    if missing := [name for name in UNITS if name not in figures]:
        complain(f"{where}.figures has no {', '.join(map(repr, missing))}", _HINT)
    return made


def _conversion(data: Any, where: str, complain: Complain) -> Conversion:
    take = _Taker(data, where, complain)
    figures = {n: _figure(take(n, _TABLE), f"{where}.{n}", complain) for n in CONVERSION_FIGURES}
    made = Conversion(
        **figures,
        backend=take("backend", _TEXT),
        key=take("key", _TEXT),
        token_ids_equal=take("token_ids_equal", _optional(_BOOL)),
        compared=take("compared", _optional(_COUNT)),
        vocabulary=take("vocabulary", _optional(_COUNT)),
        passed=take("passed", _BOOL),
        reason=take("reason", _TEXT),
    )
    take.end()
    return made


def _figure(data: Any, where: str, complain: Complain) -> Figure:
    """The figure; one whose value cannot be read is missing, and its reason says so."""
    told: list[str] = []

    def note(message: str, hint: str) -> None:
        told.append(message)
        complain(message, hint)

    take = _Taker(data, where, note)
    number = _optional(_NUMBER)
    value, low, high = take("value", number), take("low", number), take("high", number)
    reason = take("reason", _optional(_TEXT))
    if value is None and not reason:
        if not told:
            note(f"{where} has neither a value nor a reason", _HINT)
        reason = told[0]
    made = Figure(value, low, high, take("n", _COUNT), take("unit", _TEXT), reason)
    take.end()
    return made


def _verdict(data: Any, where: str, complain: Complain) -> Verdict:
    take = _Taker(data, where, complain)
    numbers = {n: take(n, _optional(_NUMBER)) for n in ("value", "low", "high", "margin")}
    texts = {n: take(n, _TEXT) for n in ("gate", "figure", "op", "bound", "reason")}
    made = Verdict(**texts, **numbers, ok=take("ok", _BOOL), threshold=take("threshold", _NUMBER))
    take.end()
    return made
