"""The core's side of surgery: a recipe's operations as build steps, and what they add to its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgehone.backends.base import Step
from edgehone.core.errors import InputError


@dataclass(frozen=True)
class Operation:
    """`apply` writes a folder from a model's; `measure`, where there is one, is run first and read by it.

    Both are `module:function` of the worker's side. `params` turns the recipe's value into `apply`'s arguments,
    `suffix` into the end of the recipe's name.
    """

    apply: str
    measure: str | None
    params: Callable[[Any], Mapping[str, Any]]
    suffix: Callable[[Any], str]


OPERATIONS: dict[str, Operation] = {
    "drop_layers": Operation(
        "edgehone.transform.surgery.layers:drop",
        "edgehone.transform.surgery.layers:importance",
        lambda value: {"count": value},
        lambda value: f"drop{value}",
    ),
    "prune_experts": Operation(
        "edgehone.transform.surgery.experts:prune",
        "edgehone.transform.surgery.experts:usage",
        lambda value: {"unused": value},
        lambda value: f"unused{value:g}",
    ),
    "drop_experts": Operation(
        "edgehone.transform.surgery.experts:prune",
        "edgehone.transform.surgery.experts:usage",
        lambda value: {"share": value},
        lambda value: f"experts{1 - value:.0%}".replace("%", ""),
    ),
}


def steps(surgery: Mapping[str, Any]) -> Step:
    """The last step of the surgery: each operation on what the one before wrote, the first on the original.

    Raises InputError for an operation that there is not.
    """
    made: Step | None = None
    for name, value in surgery.items():
        operation = _operation(name)
        reads, inputs = (("model",), {}) if made is None else ((), {"model": made})
        if operation.measure:
            inputs = {**inputs, "measured": Step(operation.measure, {}, inputs, (*reads, "calibration"))}
        made = Step(operation.apply, dict(operation.params(value)), inputs, reads)
    if made is None:
        raise InputError("a surgery without an operation", hint=f"one of {', '.join(OPERATIONS)}")
    return made


def suffix(surgery: Mapping[str, Any]) -> str:
    """What the operations add to a recipe's name, as `-drop2`."""
    return "".join(f"-{_operation(name).suffix(value)}" for name, value in surgery.items())


def _operation(name: str) -> Operation:
    if name not in OPERATIONS:
        raise InputError(f"no surgery is called '{name}'", hint=f"one of {', '.join(OPERATIONS)}")
    return OPERATIONS[name]
