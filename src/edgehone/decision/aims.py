"""Aims: what a search is told to minimise or maximise, and under which constraints.

`--minimize latency` weighs one objective alone, several weigh alike. `--subject-to "bytes<=60MB"` is a gate of the
user's own beside the ones that ship. The words that stand for a figure, and what each unit is worth, are
data/aims.toml.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.decision import requirements
from edgehone.decision.requirements import Gate, Requirements

_EXPRESSION = re.compile(r"\s*([A-Za-z_][\w]*)\s*(<=|>=|==|=|<|>)\s*([-+\d.][\d.eE+-]*)\s*([A-Za-z%/]*)\s*")


@lru_cache(maxsize=1)
def table() -> Mapping[str, Any]:
    """The tables of data/aims.toml."""
    return tomllib.loads(files("edgehone").joinpath("data/aims.toml").read_text("utf-8"))


def load(
    config: Mapping[str, Any] | None = None,
    *,
    gates: Sequence[str] = (),
    minimize: Sequence[str] = (),
    maximize: Sequence[str] = (),
    subject_to: Sequence[str] = (),
    weights: str | None = None,
) -> Requirements:
    """The requirements after everything that the user may say: edgehone.toml, gates, aims or weights, constraints.

    Raises InputError as `requirements.load`, `aimed`, `constrained` and `weights_of` do, and for weights beside aims.
    """
    required = constrained(requirements.load(config, gates), subject_to)
    if weights is None:
        return aimed(required, minimize, maximize)
    if minimize or maximize:
        raise InputError(
            f"--weights {weights!r} beside --minimize or --maximize",
            hint="give the weights alone: they say what is minimised, and how much each counts",
        )
    return replace(required, weights=weights_of(weights))


def aimed(required: Requirements, minimize: Sequence[str], maximize: Sequence[str]) -> Requirements:
    """The requirements with the weights that the aims give: 1 for each objective named, 0 for all others.

    Raises InputError for a word that names no objective, or one asked for in both directions.
    """
    if not minimize and not maximize:
        return required
    weights = dict.fromkeys(table()["objectives"], 0.0)
    for option, words in (("minimize", minimize), ("maximize", maximize)):
        for word in words:
            weights[_objective(option, word)] = 1.0
    return replace(required, weights=weights)


def constrained(required: Requirements, expressions: Sequence[str]) -> Requirements:
    """The requirements with a gate for each expression, such as `next_token_accuracy>=0.97` or `bytes<=60MB`.

    A lower limit is judged by the lower end of the interval, an upper limit by the upper end; figures that have no
    interval by their value. Raises InputError for what is no expression, an unknown figure or unit, a limit outside
    of what is possible, and for limits that contradict each other.
    """
    own = [constraint(text) for text in expressions]
    for gate in own:
        for other in (*own, *required.gates):
            _check_pair(gate, other)
    return replace(required, gates=(*required.gates, *dict.fromkeys(own)))


def constraint(text: str) -> Gate:
    """The gate that an expression is. Raises InputError as `constrained` does."""
    found = _EXPRESSION.fullmatch(text)
    if not found:
        raise InputError(
            f"--subject-to {text!r} is no constraint",
            hint='write for example --subject-to "bytes<=60MB" or --subject-to "next_token_accuracy>=0.97"',
        )
    word, op, number, unit = found.groups()
    if op not in ("<=", ">="):
        raise InputError(f"--subject-to {text!r}: {op} is not judged", hint="write <= or >=")
    figure = _figure(word, text)
    entry = table()["figures"][figure]
    limit = _number(number, text) * _factor(unit, entry["unit"], text)
    if not entry.get("least", -math.inf) <= limit <= entry.get("most", math.inf):
        least, most = entry.get("least", "-"), entry.get("most", "-")
        raise InputError(
            f"--subject-to {text!r}: {figure} cannot be {limit:g}", hint=f"it lies between {least} and {most}"
        )
    bound: Literal["low", "high", "value"] = "low" if op == ">=" else "high"
    return Gate(
        f"{figure}{op}{limit:g}",
        figure,
        ">=" if op == ">=" else "<=",
        limit,
        bound if entry.get("interval", True) else "value",
    )


def weights_of(text: str) -> dict[str, float]:
    """`speed=1,quality=8` as weights, 0 for what is not named. Raises InputError for what does not parse."""
    weights, named = dict.fromkeys(table()["objectives"], 0.0), set[str]()
    for part in text.split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if name not in weights:
            raise InputError(f"--weights {text!r}: unknown objective {name!r}", hint=suggest(name, weights))
        if name in named:
            raise InputError(f"--weights {text!r}: {name} is weighed twice", hint="name each objective once")
        named.add(name)
        try:
            number = float(value) if equals else math.nan
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise InputError(
                f"--weights {text!r}: {part.strip()!r} gives no weight of 0 or more",
                hint="write for example --weights speed=1,quality=8",
            )
        weights[name] = number
    if not any(weights.values()):
        raise InputError(f"--weights {text!r}: all weights are 0", hint="give one objective more than 0")
    return weights


def _objective(option: str, word: str) -> str:
    words: Mapping[str, str] = table()[option]
    if word in words:
        return words[word]
    other = "maximize" if option == "minimize" else "minimize"
    if word in table()[other]:
        raise InputError(f"--{option} {word}", hint=f"--{other} {word} is what can be had")
    raise InputError(f"--{option} {word!r}: no such objective", hint=suggest(word, words))


def _figure(word: str, text: str) -> str:
    known: Mapping[str, Any] = table()["figures"]
    name = table()["words"].get(word, word)
    if name not in known:
        raise InputError(
            f"--subject-to {text!r}: unknown figure {word!r}", hint=suggest(word, [*known, *table()["words"]])
        )
    return str(name)


def _factor(unit: str, base: str, text: str) -> float:
    """How many of the figure's own unit one of `unit` is."""
    units: Mapping[str, float] = {"": 1.0, **table()["units"].get(base, {})}
    if unit not in units:
        known = ", ".join(name for name in units if name) or "none, it is a plain number"
        raise InputError(f"--subject-to {text!r}: {unit!r} is no unit of this figure", hint=f"units: {known}")
    return float(units[unit])


def _number(word: str, text: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"--subject-to {text!r}: {word!r} is no number", hint="write for example 0.97 or 60")
    return value


def _check_pair(one: Gate, other: Gate) -> None:
    """Raise InputError where no value passes both."""
    if one.figure == other.figure and one.op == ">=" and other.op == "<=" and one.threshold > other.threshold:
        raise InputError(
            f"{one.figure} >= {one.threshold:g} and {other.figure} <= {other.threshold:g} contradict each other",
            hint="loosen one of them: nothing can pass both",
        )
    if one.figure == other.figure and one.op == "<=" and other.op == ">=":
        _check_pair(other, one)
