"""The objectives and constraints given on the command line.

`--minimize latency` sets the weights to that objective alone; several objectives weigh the same. `--subject-to
"bytes<=60MB"` adds a gate to the built-in ones. data/aims.toml lists the names of figures and the units.
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
from edgehone.model.info import Kind

_EXPRESSION = re.compile(r"\s*([A-Za-z_][\w]*)\s*(<=|>=|==|=|<|>)\s*([-+\d.][\d.eE+-]*)\s*([A-Za-z%/]*)\s*")


@lru_cache(maxsize=1)
def table() -> Mapping[str, Any]:
    """Return the tables of data/aims.toml."""
    return tomllib.loads(files("edgehone").joinpath("data/aims.toml").read_text("utf-8"))


def load(
    config: Mapping[str, Any] | None = None,
    *,
    gates: Sequence[str] = (),
    minimize: Sequence[str] = (),
    maximize: Sequence[str] = (),
    subject_to: Sequence[str] = (),
    weights: str | None = None,
    targets: Sequence[str] = (),
    kind: Kind = "language",
    quantized: bool = False,
) -> Requirements:
    """Return the requirements from all settings: edgehone.toml, gates, objectives or weights, constraints, targets.

    Raises InputError as `requirements.load`, `aimed`, `constrained` and `weights_of` do, and if both weights and
    objectives are given.
    """
    required = constrained(requirements.load(config, gates, kind, quantized), subject_to)
    required = replace(
        required, targets=tuple(dict.fromkeys(constraint(text, "--target") for text in targets))
    )
    if weights is None:
        return aimed(required, minimize, maximize)
    if minimize or maximize:
        raise InputError(
            f"--weights {weights!r} cannot be combined with --minimize or --maximize",
            hint="give --weights alone: it names the objectives and how much each counts",
        )
    return replace(required, weights=weights_of(weights))


def aimed(required: Requirements, minimize: Sequence[str], maximize: Sequence[str]) -> Requirements:
    """Return the requirements with weight 1 for each objective named and 0 for all others.

    Raises InputError for a word that is not an objective, or not one in that direction.
    """
    if not minimize and not maximize:
        return required
    weights = dict.fromkeys(table()["objectives"], 0.0)
    for option, words in (("minimize", minimize), ("maximize", maximize)):
        for word in words:
            weights[_objective(option, word)] = 1.0
    return replace(required, weights=weights)


def constrained(required: Requirements, expressions: Sequence[str]) -> Requirements:
    """Return the requirements with a gate for each expression, such as `accuracy>=0.97` or `bytes<=60MB`.

    A lower limit is compared with the lower end of the interval and an upper limit with the upper end; figures without
    an interval are compared by their value. Raises InputError for an invalid expression, an unknown figure or unit, a
    limit outside of the possible range, and limits that contradict each other.
    """
    constraints = [constraint(text) for text in expressions]
    for gate in constraints:
        for other in (*constraints, *required.gates):
            _check_pair(gate, other)
    return replace(required, gates=(*required.gates, *dict.fromkeys(constraints)))


def judges_quality(figure: str) -> bool:
    """Return True if the figure says what a candidate keeps of the original's answers."""
    return bool(table()["figures"].get(figure, {}).get("quality", False))


def possible(figure: str, value: float) -> bool:
    """Return True if a figure that may be constrained can have this value."""
    entry = table()["figures"][figure]
    return bool(entry.get("least", -math.inf) <= value <= entry.get("most", math.inf))


def constraint(text: str, option: str = "--subject-to") -> Gate:
    """Return the gate for an expression given by `option`. Raises InputError as `constrained` does."""
    matched = _EXPRESSION.fullmatch(text)
    if not matched:
        raise InputError(
            f"{option} {text!r} is not a constraint",
            hint=f'write for example {option} "bytes<=60MB" or {option} "accuracy>=0.97"',
        )
    word, op, number, unit = matched.groups()
    if op not in ("<=", ">="):
        raise InputError(f"{option} {text!r}: {op} is not supported", hint="write <= or >=")
    figure = _figure(word, f"{option} {text!r}")
    entry = table()["figures"][figure]
    limit = _number(number, f"{option} {text!r}") * _factor(unit, entry["unit"], f"{option} {text!r}")
    if not possible(figure, limit):
        least, most = entry.get("least", "-"), entry.get("most", "-")
        raise InputError(
            f"{option} {text!r}: {figure} cannot be {limit:g}", hint=f"it lies between {least} and {most}"
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
    """Return the weights in `speed=1,quality=8`, with 0 for other objectives. Raises InputError for invalid text."""
    weights, named = dict.fromkeys(table()["objectives"], 0.0), set[str]()
    for part in text.split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if name not in weights:
            raise InputError(f"--weights {text!r}: unknown objective {name!r}", hint=suggest(name, weights))
        if name in named:
            raise InputError(f"--weights {text!r}: {name} is given twice", hint="name each objective once")
        named.add(name)
        try:
            number = float(value) if equals else math.nan
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise InputError(
                f"--weights {text!r}: {part.strip()!r} is not OBJECTIVE=WEIGHT with a weight of 0 or more",
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
        raise InputError(f"--{option} {word} is not supported", hint=f"use --{other} {word}")
    raise InputError(f"--{option} {word!r}: unknown objective", hint=suggest(word, words))


def _figure(word: str, said: str) -> str:
    known: Mapping[str, Any] = table()["figures"]
    name = table()["words"].get(word, word)
    if name not in known:
        raise InputError(f"{said}: unknown figure {word!r}", hint=suggest(word, [*known, *table()["words"]]))
    return str(name)


def _factor(unit: str, base: str, said: str) -> float:
    """Return how many of the figure's own unit `base` one `unit` is."""
    units: Mapping[str, float] = {"": 1.0, **table()["units"].get(base, {})}
    if unit not in units:
        known = ", ".join(name for name in units if name) or "none, it is a plain number"
        raise InputError(f"{said}: {unit!r} is not a unit of this figure", hint=f"units: {known}")
    return float(units[unit])


def _number(word: str, said: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{said}: {word!r} is not a number", hint="write for example 0.97 or 60")
    return value


def _check_pair(one: Gate, other: Gate) -> None:
    """Raise InputError if no value can pass both gates."""
    if one.figure == other.figure and one.op == ">=" and other.op == "<=" and one.threshold > other.threshold:
        raise InputError(
            f"{one.figure} >= {one.threshold:g} and {other.figure} <= {other.threshold:g} contradict each other",
            hint="loosen one of them: no candidate can pass both",
        )
    if one.figure == other.figure and one.op == "<=" and other.op == ">=":
        _check_pair(other, one)
