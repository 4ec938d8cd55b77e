"""The decision: what was chosen, why, and every figure and verdict that led there. Its file is decision.json.

Its schema (JSON Schema 2020-12) ships as data/decision.schema.json; `Decision.from_json` holds a file that
may have been edited, cut or written by something else to the same shape, and says where it departs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from edgehone.decide.gates import Verdict
from edgehone.errors import InputError
from edgehone.figure import Figure

SCHEMA = 1
HINT = "the file was changed, cut or written by something else; run edgehone optimize again"
Status = Literal["ok", "failed", "disqualified", "skipped"]

CONVERSION_FIGURES = ("max_error", "mean_error", "kl_mean", "same_top")
# Every candidate has these, missing ones with a reason.
UNITS: Mapping[str, str] = {
    "decode_tokens_per_s": "tokens/s",
    "prefill_tokens_per_s": "tokens/s",
    "ttft_ms": "ms",
    "workload_latency_ms": "ms",
    "kl_mean": "nats",
    "kl_p99": "nats",
    "same_top": "share",
    "next_token_accuracy": "share",
    "perplexity": "",
    "peak_memory_bytes": "bytes",
    "energy_j": "J",
}


@dataclass(frozen=True)
class Candidate:
    """One recipe and what became of it.

    `status`: ok (built, checked, measured), failed (`error`, and the path of the whole `log`), disqualified
    (its backend is not the original when unquantized), skipped (not tried; `error` says why).
    """

    key: str
    backend: str
    recipe: Mapping[str, Any]
    status: Status = "ok"
    error: str | None = None
    log: str | None = None
    bytes: int | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    on_frontier: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passes(self) -> bool:
        """Whether it was measured and no gate refuses it."""
        return self.status == "ok" and all(verdict.ok for verdict in self.verdicts)

    def figure(self, name: str) -> Figure:
        """The figure of that name, or a missing one."""
        return self.figures.get(name) or Figure.missing(self.error or "not measured", UNITS.get(name, ""))

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {
            "key": self.key,
            "backend": self.backend,
            "recipe": dict(self.recipe),
            "status": self.status,
            "error": self.error,
            "log": self.log,
            "bytes": self.bytes,
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "on_frontier": self.on_frontier,
            "facts": dict(self.facts),
        }

    @classmethod
    def from_json(cls, data: Any, where: str = "candidate") -> Candidate:
        """The candidate that `to_json` wrote. Raises InputError that says where the data departs."""
        take = _Taker(data, where)
        figures = take("figures", _mapping)
        verdicts = take("verdicts", _list)
        candidate = cls(
            key=take("key", _text),
            backend=take("backend", _text),
            recipe=take("recipe", _mapping),
            status=take("status", _status),
            error=take("error", _optional(_text)),
            log=take("log", _optional(_text)),
            bytes=take("bytes", _optional(_count)),
            figures={n: _figure(value, f"{where}.figures.{n}") for n, value in figures.items()},
            verdicts=tuple(_verdict(v, f"{where}.verdicts[{i}]") for i, v in enumerate(verdicts)),
            on_frontier=take("on_frontier", _bool),
            facts=take("facts", _mapping),
        )
        take.end()
        for name in UNITS:
            if name not in figures:
                raise InputError(f"{where}.figures has no {name!r}", hint=HINT)
        return candidate


@dataclass(frozen=True)
class Conversion:
    """A backend's unquantized build against the original in float32: what its other recipes start from.

    `token_ids_equal` is None where it was not found out. `max_error` and `mean_error` are |differences| of
    log-probabilities in nats, over `compared` ids of a vocabulary of `vocabulary` at each scored token.
    A backend whose conversion has not `passed` is out; `reason` says by what.
    """

    backend: str
    key: str
    token_ids_equal: bool | None
    max_error: Figure
    mean_error: Figure
    kl_mean: Figure
    same_top: Figure
    passed: bool
    reason: str
    compared: int | None = None
    vocabulary: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        figures = {name: getattr(self, name).to_json() for name in CONVERSION_FIGURES}
        return {
            "backend": self.backend,
            "key": self.key,
            "token_ids_equal": self.token_ids_equal,
            **figures,
            "compared": self.compared,
            "vocabulary": self.vocabulary,
            "passed": self.passed,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, data: Any, where: str = "conversion") -> Conversion:
        """The conversion that `to_json` wrote. Raises InputError that says where the data departs."""
        take = _Taker(data, where)
        figures = {n: _figure(take(n, _mapping), f"{where}.{n}") for n in CONVERSION_FIGURES}
        conversion = cls(
            **figures,
            backend=take("backend", _text),
            key=take("key", _text),
            token_ids_equal=take("token_ids_equal", _optional(_bool)),
            compared=take("compared", _optional(_count)),
            vocabulary=take("vocabulary", _optional(_count)),
            passed=take("passed", _bool),
            reason=take("reason", _text),
        )
        take.end()
        return conversion


@dataclass(frozen=True)
class Decision:
    """The whole record; `chosen` is a candidate's key, or None where none passes every gate."""

    chosen: str | None
    reason: str
    device: Mapping[str, Any]
    model: Mapping[str, Any]
    workload: Mapping[str, Any]
    requirements: Mapping[str, Any]
    baseline: Candidate
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]
    versions: Mapping[str, Any]
    edgehone: str
    created: str  # UTC, ISO 8601
    conversions: tuple[Conversion, ...] = ()
    schema: int = SCHEMA

    def candidate(self, key: str) -> Candidate:
        """The candidate of that key, the baseline included. Raises InputError for an unknown one."""
        for candidate in (*self.candidates, self.baseline):
            if candidate.key == key:
                return candidate
        known = ", ".join(c.key for c in self.candidates)
        raise InputError(f"no candidate {key!r} in this decision", hint=f"candidates: {known}")

    def to_json(self) -> dict[str, Any]:
        """A plain dict, as the schema says."""
        return {
            "schema": self.schema,
            "edgehone": self.edgehone,
            "created": self.created,
            "chosen": self.chosen,
            "reason": self.reason,
            "device": dict(self.device),
            "model": dict(self.model),
            "workload": dict(self.workload),
            "requirements": dict(self.requirements),
            "baseline": self.baseline.to_json(),
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "conversions": [conversion.to_json() for conversion in self.conversions],
            "notes": list(self.notes),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, data: Any, where: str = "decision.json") -> Decision:
        """The decision that `to_json` wrote.

        Raises InputError with the place and the offending value when the data is not such a decision.
        """
        take = _Taker(data, where)
        schema = take("schema", _count)
        if schema != SCHEMA:
            hint = f"this edgehone reads schema {SCHEMA}; use the edgehone that wrote it, or optimize again"
            raise InputError(f"{where} has schema {schema}", hint=hint)
        decision = cls(
            chosen=take("chosen", _optional(_text)),
            reason=take("reason", _text),
            device=take("device", _mapping),
            model=take("model", _mapping),
            workload=take("workload", _mapping),
            requirements=take("requirements", _mapping),
            baseline=Candidate.from_json(take("baseline", _mapping), f"{where}: baseline"),
            candidates=tuple(
                Candidate.from_json(c, f"{where}: candidates[{i}]")
                for i, c in enumerate(take("candidates", _list))
            ),
            # Decisions made before there was this table have none.
            conversions=tuple(
                Conversion.from_json(c, f"{where}: conversions[{i}]")
                for i, c in enumerate(take("conversions", _list, otherwise=[]))
            ),
            notes=tuple(_each(take("notes", _list), _text, f"{where}: notes")),
            versions=take("versions", _mapping),
            edgehone=take("edgehone", _text),
            created=take("created", _text),
        )
        take.end()
        if decision.chosen is not None and decision.chosen not in {c.key for c in decision.candidates}:
            raise InputError(f"{where}: chosen is {decision.chosen!r}, which is no candidate", hint=HINT)
        return decision


def read(path: Path) -> Decision:
    """The decision in a file. Raises InputError when it is missing, cut, or not a decision."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = "make one with edgehone optimize MODEL --out BUNDLE"
        raise InputError(f"can't read {path}: {error.strerror or error}", hint=hint) from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise InputError(f"{path} is not JSON: {error}", hint=HINT) from error
    return Decision.from_json(data, str(path))


class _Taker:
    """Takes a table's keys one by one, each checked, and at the `end` complains of those left."""

    def __init__(self, data: Any, where: str) -> None:
        self.data = dict(_or_raise(data, _mapping, where))
        self.where = where

    def __call__(self, key: str, check: Callable[[Any], Any], otherwise: Any = None) -> Any:
        if key not in self.data and otherwise is not None:
            return otherwise
        if key not in self.data:
            raise InputError(f"{self.where} has no {key!r}", hint=HINT)
        return _or_raise(self.data.pop(key), check, f"{self.where}: {key}")

    def end(self) -> None:
        if self.data:
            raise InputError(f"{self.where} has unknown keys: {', '.join(map(repr, self.data))}", hint=HINT)


def _or_raise(value: Any, check: Callable[[Any], Any], where: str) -> Any:
    try:
        return check(value)
    except TypeError as error:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise InputError(f"{where} is {shown}, not {error}", hint=HINT) from error


def _kind(kind: type | tuple[type, ...], name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(name)
        return value

    return check


_text = _kind(str, "a text")
_list = _kind(list, "a list")
_bool = _kind(bool, "true or false")
_mapping = _kind(Mapping, "a table")


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError("a whole number of 0 or more")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("a number")
    return value


def _status(value: Any) -> Any:
    if value not in get_args(Status):
        raise TypeError(f"one of {', '.join(get_args(Status))}")
    return value


def _optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _each(values: list[Any], check: Callable[[Any], Any], where: str) -> list[Any]:
    return [_or_raise(value, check, f"{where}[{i}]") for i, value in enumerate(values)]


def _figure(data: Any, where: str) -> Figure:
    take = _Taker(data, where)
    number = _optional(_number)
    value, low, high = take("value", number), take("low", number), take("high", number)
    reason = take("reason", _optional(_text))
    if value is None and not reason:
        raise InputError(f"{where} has neither a value nor a reason", hint=HINT)
    figure = Figure(value, low, high, take("n", _count), take("unit", _text), reason)
    take.end()
    return figure


def _verdict(data: Any, where: str) -> Verdict:
    take = _Taker(data, where)
    numbers = {n: take(n, _optional(_number)) for n in ("value", "low", "high", "margin")}
    texts = {n: take(n, _text) for n in ("gate", "figure", "op", "bound", "reason")}
    verdict = Verdict(**texts, **numbers, ok=take("ok", _bool), threshold=take("threshold", _number))
    take.end()
    return verdict
