"""Workloads: the requests that a model is measured with. The shipped ones are in data/workloads.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.model.info import Kind

DEFAULT = "chat"
GRAPH = "classify"
OBJECTIVES = ("speed", "throughput", "quality", "memory", "size")
LENGTHS = ("prompt_tokens", "generated_tokens", "context")
# Integer fields with their maximum; larger values are typing errors.
COUNTS = {**dict.fromkeys(LENGTHS, 1 << 24), "batch": 1024, "concurrency": 1024}
# Fields of streams with their maximum.
STREAM = {"frames_per_s": 1000.0, "deadline_ms": 3_600_000.0}
TASKS = {"text-generation": "language", "graph": "graph"}
# Optional fields with their default.
OPTIONAL = {**dict.fromkeys(STREAM, 0.0), "pictures": False}


@dataclass(frozen=True)
class Workload:
    """A workload. Lengths are in tokens; `weights` are exchange rates between objectives (see workloads.toml).

    `frames_per_s` and `deadline_ms` are 0 unless requests arrive at a fixed rate. With `pictures`, each request starts
    with a picture.
    """

    name: str
    task: str
    prompt_tokens: int
    generated_tokens: int
    context: int
    batch: int
    concurrency: int
    weights: Mapping[str, float]
    frames_per_s: float = 0.0
    deadline_ms: float = 0.0
    pictures: bool = False

    @property
    def sequences(self) -> int:
        """The number of prompts or samples processed concurrently."""
        return self.batch * self.concurrency

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict. Optional fields are left out if they have their default."""
        table = {name: value for name, value in asdict(self).items() if value or name not in OPTIONAL}
        return {**table, "weights": dict(self.weights)}


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, Mapping[str, Any]]:
    """Return the shipped workloads by name."""
    return tomllib.loads(files("edgehone").joinpath("data/workloads.toml").read_text(encoding="utf-8"))


def load(name: str = DEFAULT, config: Mapping[str, Any] | None = None, kind: Kind = "language") -> Workload:
    """Return the workload with this name from [workloads.NAME] of `config` or the shipped ones.

    Fields that [workloads.NAME] does not set come from the shipped workload of the same name, else from chat, or from
    classify for a graph. `config` is a parsed edgehone.toml. Raises InputError for an unknown name or key, an invalid
    value, or a workload that this `kind` of model cannot serve.
    """
    custom = (config or {}).get("workloads", {})
    if not isinstance(custom, Mapping):
        raise InputError(
            f"workloads in edgehone.toml is {custom!r}, not a table", hint="write [workloads.NAME]"
        )
    known = [*shipped(), *(key for key in custom if key not in shipped())]
    if name not in known:
        raise InputError(f"unknown workload {name!r}", hint=suggest(name, known))
    table = custom.get(name, {})
    if not isinstance(table, Mapping):
        raise InputError(f"workloads.{name} is {table!r}, not a table", hint=f"write [workloads.{name}]")
    base = _base(name, kind)
    for key in table:
        if key not in base:
            raise InputError(f"unknown key {key!r} in [workloads.{name}]", hint=suggest(key, list(base)))
    values = {**base, **table}
    task = values["task"]
    if not isinstance(task, str) or task not in TASKS:
        raise InputError(f"[workloads.{name}]: task is {task!r}", hint=suggest(task, TASKS))
    if TASKS[task] != kind:
        fitting = [other for other in shipped() if TASKS[_base(other, kind)["task"]] == kind]
        raise InputError(
            f"the workload {name!r} is for {task}, which this model does not do",
            hint=f"use --workload {' or '.join(fitting)}",
        )
    return _checked(name, values, table, kind)


def _base(name: str, kind: Kind) -> dict[str, Any]:
    """Return the defaults of a workload. A shipped workload can have different values for each kind of model."""
    table = dict(shipped().get(name, shipped()[DEFAULT if kind == "language" else GRAPH]))
    other = {key: table.pop(key) for key in TASKS.values() if key in table}
    return {**OPTIONAL, **table, **other.get(kind, {})}


def fit(workload: Workload, model_context: int | None) -> tuple[Workload, str | None]:
    """Shorten a workload to a model's context. Returns the workload, and a note if it was shortened.

    Prompt and generated length shrink in proportion, to at least one token each. Raises InputError for a context
    below 2 tokens.
    """
    if model_context is None or model_context >= workload.context or not workload.generated_tokens:
        return workload, None
    if model_context < 2:
        raise InputError(
            f"the model's context of {model_context} tokens is too short for a prompt and an answer"
        )
    required = workload.prompt_tokens + workload.generated_tokens
    if required <= model_context:
        return replace(workload, context=model_context), None
    generated = min(max(1, workload.generated_tokens * model_context // required), model_context - 1)
    prompt = min(max(1, workload.prompt_tokens * model_context // required), model_context - generated)
    smaller = replace(workload, prompt_tokens=prompt, generated_tokens=generated, context=model_context)
    note = (
        f"the model's context is {model_context} tokens: {workload.name} was shortened from "
        f"{workload.prompt_tokens} + {workload.generated_tokens} to {prompt} + {generated} tokens"
    )
    return smaller, note


def check_weights(weights: Any, where: str) -> dict[str, float]:
    """Return the weights as floats. Raises InputError for unknown objectives and negative values."""
    if not isinstance(weights, Mapping):
        raise InputError(f"{where} is {weights!r}, not a table", hint=f"objectives: {', '.join(OBJECTIVES)}")
    for key, value in weights.items():
        if key not in OBJECTIVES:
            raise InputError(f"unknown objective {key!r} in {where}", hint=suggest(key, OBJECTIVES))
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 <= value < float("inf"):
            raise InputError(f"{where}: {key} is {value!r}", hint="a weight is a number of 0 or more")
    return {key: float(value) for key, value in weights.items()}


def _checked(name: str, values: Mapping[str, Any], custom: Mapping[str, Any], kind: Kind) -> Workload:
    where = f"[workloads.{name}]"
    for key, most in COUNTS.items():
        least = 0 if kind == "graph" and key in LENGTHS else 1
        if not _is_number(values[key], int) or not least <= values[key] <= most:
            hint = f"{key} is a whole number from {least} to {most}"
            raise InputError(f"{where}: {key} is {values[key]!r}", hint=hint)
    required = values["prompt_tokens"] + values["generated_tokens"]
    if "context" not in custom:
        values = {**values, "context": max(values["context"], required)}
    if values["context"] < required:
        hint = f"set context to {required} or more"
        raise InputError(
            f"{where}: a context of {values['context']} is too short for {required} tokens", hint=hint
        )
    weights = {**dict.fromkeys(OBJECTIVES, 0.0), **check_weights(values["weights"], f"weights of {where}")}
    if not any(weights.values()):
        raise InputError(f"{where}: all weights are 0", hint="give one objective a weight above 0")
    return Workload(name=name, **{**values, **_optional(where, values, kind), "weights": weights})


def _optional(where: str, values: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Check the optional fields. The default deadline of a frame is the arrival of the next frame."""
    for key, most in STREAM.items():
        if not _is_number(values[key], int, float) or not 0 <= values[key] <= most:
            hint = f"{key} is a number from 0 (none) to {most:g}"
            raise InputError(f"{where}: {key} is {values[key]!r}", hint=hint)
    rate, deadline = float(values["frames_per_s"]), float(values["deadline_ms"])
    if deadline and not rate:
        raise InputError(f"{where}: deadline_ms is {deadline:g} without frames", hint="also set frames_per_s")
    if rate and kind != "graph":
        hint = "remove frames_per_s; image_ttft_ms is measured for vision-language models"
        raise InputError(
            f"{where}: frames_per_s is {rate:g}, but a language model takes no frames", hint=hint
        )
    if rate and (values["batch"], values["concurrency"]) != (1, 1):
        hint = "set batch and concurrency to 1: frames of one camera arrive one at a time"
        raise InputError(f"{where}: frames_per_s is {rate:g} with batch or concurrency above 1", hint=hint)
    if not isinstance(values["pictures"], bool):
        raise InputError(f"{where}: pictures is {values['pictures']!r}", hint="pictures is true or false")
    if values["pictures"] and (kind == "graph" or (values["batch"], values["concurrency"]) != (1, 1)):
        hint = "pictures require a vision-language model, and batch and concurrency of 1"
        raise InputError(f"{where}: pictures for a graph, or with batch or concurrency above 1", hint=hint)
    return {"frames_per_s": rate, "deadline_ms": deadline or (1000 / rate if rate else 0.0)}


def _is_number(value: Any, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)
