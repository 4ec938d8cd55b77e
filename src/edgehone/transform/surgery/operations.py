"""Turn a recipe's surgery into build steps, and into a suffix of the recipe's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgehone.backends.base import Step
from edgehone.core.errors import InputError


@dataclass(frozen=True)
class Operation:
    """`apply` writes a new folder from a model's folder; `measure`, if any, runs first and `apply` reads its result.

    Both are functions of the worker side, as `module:function`. `params` converts the recipe's value to `apply`'s
    arguments, `suffix` to the end of the recipe's name.
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
    """Return the last step of the surgery. Each operation reads the previous one's result, the first the original.

    Raises InputError for an unknown operation, or if there is none.
    """
    step: Step | None = None
    for name, value in surgery.items():
        operation = _operation(name)
        reads, inputs = (("model",), {}) if step is None else ((), {"model": step})
        if operation.measure:
            inputs = {**inputs, "measured": Step(operation.measure, {}, inputs, (*reads, "calibration"))}
        step = Step(operation.apply, dict(operation.params(value)), inputs, reads)
    if step is None:
        raise InputError("the surgery has no operation", hint=f"use one of {', '.join(OPERATIONS)}")
    return step


def suffix(surgery: Mapping[str, Any]) -> str:
    """Return what the operations add to a recipe's name, for example `-drop2`."""
    return "".join(f"-{_operation(name).suffix(value)}" for name, value in surgery.items())


def _operation(name: str) -> Operation:
    if name not in OPERATIONS:
        raise InputError(f"there is no surgery '{name}'", hint=f"use one of {', '.join(OPERATIONS)}")
    return OPERATIONS[name]
