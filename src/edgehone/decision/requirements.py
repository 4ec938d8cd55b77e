"""Load gates and weights from data/requirements.toml, overridden by edgehone.toml and then by the command line."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.inputs.workload import check_weights
from edgehone.model.info import Kind


@dataclass(frozen=True)
class Gate:
    """A requirement: the `bound` of `figure` must be `op` (at least or at most) the `threshold`."""

    name: str
    figure: str
    op: Literal[">=", "<="]
    threshold: float
    bound: Literal["low", "high", "value"]


@dataclass(frozen=True)
class Requirements:
    """The gates that a candidate must pass, and the weights that override the workload's.

    `parity_check` has the limits for a backend's unquantized build (kl_mean_max and same_top_min; for a graph
    relative_error_max). `targets` are wishes: of the candidates that pass every gate, the best that meets all targets
    is chosen, else the nearest to them.
    """

    gates: tuple[Gate, ...]
    weights: Mapping[str, float]
    parity_check: Mapping[str, float]
    targets: tuple[Gate, ...] = ()

    def over(self, workload_weights: Mapping[str, float]) -> dict[str, float]:
        """Return the workload's weights, overridden by the user's. Raises InputError if all are 0."""
        merged = {**workload_weights, **self.weights}
        if not any(merged.values()):
            raise InputError("all weights are 0", hint="give one objective in [weights] more than 0")
        return merged

    @property
    def most_bytes(self) -> int | None:
        """Return the largest size of an artifact that the gates allow, None if none of them limits it."""
        return _least_bytes(self.gates)

    @property
    def least_limit_bytes(self) -> int | None:
        """Return the smallest limit of an artifact's size among gates and targets, None if none of them limits it."""
        return _least_bytes((*self.gates, *self.targets))

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {
            "gates": [asdict(gate) for gate in self.gates],
            "targets": [asdict(target) for target in self.targets],
            "weights": dict(self.weights),
            "null_test": dict(self.parity_check),
        }


def _least_bytes(limits: Sequence[Gate]) -> int | None:
    found = [limit.threshold for limit in limits if limit.figure == "bytes" and limit.op == "<="]
    return int(min(found)) if found else None


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, Any]:
    """Return the tables of data/requirements.toml."""
    return tomllib.loads(files("edgehone").joinpath("data/requirements.toml").read_text(encoding="utf-8"))


def load(
    config: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    kind: Kind = "language",
    quantized: bool = False,
) -> Requirements:
    """Return the requirements of a kind of model from a parsed edgehone.toml and `name=value` overrides.

    `quantized`: the original is quantized already, which leaves out gates on what quantization gains.

    In its [gates] and in the overrides, a gate's value is its threshold, `off` (or false in TOML) to disable it, or
    `on` (or true) for the default threshold. Raises InputError for an invalid value, and with the closest name for an
    unknown gate.
    """
    settings = config or {}
    gates = {name: _gate(name, table) for name, table in shipped()["gates"].items()}
    active = {
        name: kind in table["enabled"] and not (quantized and table.get("unless_quantized", False))
        for name, table in shipped()["gates"].items()
    }
    tables = settings.get("gates", {})
    if not isinstance(tables, Mapping):
        raise InputError(f"gates in edgehone.toml is {tables!r}, not a table", hint="write [gates]")
    settings_of = [(name, value, f"[gates] {name} = {value!r}") for name, value in tables.items()]
    settings_of += [_parsed(text) for text in overrides]
    for name, value, shown in settings_of:
        if name not in gates:
            raise InputError(f"unknown gate {name!r} in {shown}", hint=suggest(name, gates))
        gates[name], active[name] = _set(gates[name], value, shown)
    return Requirements(
        gates=tuple(gate for name, gate in gates.items() if active[name]),
        weights=check_weights(settings.get("weights", {}), "[weights] in edgehone.toml"),
        parity_check={name: float(limit) for name, limit in shipped()["null_test"].items()},
    )


def _gate(name: str, table: Mapping[str, Any]) -> Gate:
    return Gate(name, table["figure"], table["op"], float(table["threshold"]), table["bound"])


def _parsed(text: str) -> tuple[str, str, str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name or not value:
        raise InputError(f"--gate {text!r} is not NAME=VALUE", hint="write for example --gate speedup=1.5")
    return name, value, f"--gate {text}"


def _set(gate: Gate, value: Any, shown: str) -> tuple[Gate, bool]:
    """Return the gate with its new threshold, and whether it is enabled."""
    if value is False or value == "off":
        return gate, False
    if (value is True or value == "on") and gate.threshold != 0:
        return gate, True
    try:
        threshold = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        threshold = math.nan
    if not math.isfinite(threshold):
        hint = f"write a number or off, for example --gate {gate.name}={gate.threshold or 100:g}"
        raise InputError(f"{shown}: {value!r} is not a threshold", hint=hint)
    return replace(gate, threshold=threshold), True
