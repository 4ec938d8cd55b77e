"""The workload: what will be asked of the model. The shipped ones are data/workloads.toml."""

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
# Whole numbers, and the most that each may be: beyond lies a slip of the keyboard, not an edge device.
COUNTS = {**dict.fromkeys(LENGTHS, 1 << 24), "batch": 1024, "concurrency": 1024}
# Numbers that only a stream has, and the most that each may be.
STREAM = {"frames_per_s": 1000.0, "deadline_ms": 3_600_000.0}
TASKS = {"text-generation": "language", "graph": "graph"}


# What a workload need not say.
OPTIONAL = {**dict.fromkeys(STREAM, 0.0), "pictures": False}


@dataclass(frozen=True)
class Workload:
    """Lengths in tokens; `weights` are the exchange rates between the objectives (see workloads.toml).

    `frames_per_s` is 0 for requests that follow each other, `deadline_ms` then too. With `pictures` each begins with
    one.
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
        """How many prompts or samples are under way at once."""
        return self.batch * self.concurrency

    def to_json(self) -> dict[str, Any]:
        """A plain dict; what only streams and pictures have where they are asked for."""
        table = {name: value for name, value in asdict(self).items() if value or name not in OPTIONAL}
        return {**table, "weights": dict(self.weights)}


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, Mapping[str, Any]]:
    """The workloads that ship, by name."""
    return tomllib.loads(files("edgehone").joinpath("data/workloads.toml").read_text(encoding="utf-8"))


def load(name: str = DEFAULT, config: Mapping[str, Any] | None = None, kind: Kind = "language") -> Workload:
    """The workload of that name, from the config's [workloads.NAME] over the shipped ones.

    A workload of the user's own starts from the shipped one of its name, else from chat, or from classify for a
    graph. The config is a parsed edgehone.toml; its other tables are ignored here. Raises InputError for an
    unknown name or key, a value that can't be, or a workload that the `kind` of model cannot serve.
    """
    own = (config or {}).get("workloads", {})
    if not isinstance(own, Mapping):
        raise InputError(f"workloads in edgehone.toml is {own!r}, not a table", hint="write [workloads.NAME]")
    known = [*shipped(), *(key for key in own if key not in shipped())]
    if name not in known:
        raise InputError(f"unknown workload {name!r}", hint=suggest(name, known))
    table = own.get(name, {})
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
            f"the workload {name!r} is {task}: not what this model does",
            hint=f"give --workload {' or '.join(fitting)}",
        )
    return _checked(name, values, table, kind)


def _base(name: str, kind: Kind) -> dict[str, Any]:
    """What a workload of that name starts from. A shipped one may mean something else for another kind of model."""
    table = dict(shipped().get(name, shipped()[DEFAULT if kind == "language" else GRAPH]))
    other = {key: table.pop(key) for key in TASKS.values() if key in table}
    return {**OPTIONAL, **table, **other.get(kind, {})}


def fit(workload: Workload, model_context: int | None) -> tuple[Workload, str | None]:
    """The workload within a model's context, and a note where that made it shorter.

    Prompt and generated length shrink in proportion; each keeps at least one token. Raises InputError for a
    context under 2 tokens.
    """
    if model_context is None or model_context >= workload.context or not workload.generated_tokens:
        return workload, None
    if model_context < 2:
        raise InputError(f"the model's context of {model_context} tokens holds no prompt and answer")
    asked = workload.prompt_tokens + workload.generated_tokens
    if asked <= model_context:
        return replace(workload, context=model_context), None
    generated = min(max(1, workload.generated_tokens * model_context // asked), model_context - 1)
    prompt = min(max(1, workload.prompt_tokens * model_context // asked), model_context - generated)
    smaller = replace(workload, prompt_tokens=prompt, generated_tokens=generated, context=model_context)
    note = (
        f"the model's context is {model_context} tokens: {workload.name} was shortened from "
        f"{workload.prompt_tokens} + {workload.generated_tokens} to {prompt} + {generated} tokens"
    )
    return smaller, note


def check_weights(weights: Any, where: str) -> dict[str, float]:
    """Weights as floats, none below 0 and not all 0. Raises InputError that names `where`."""
    if not isinstance(weights, Mapping):
        raise InputError(f"{where} is {weights!r}, not a table", hint=f"objectives: {', '.join(OBJECTIVES)}")
    for key, value in weights.items():
        if key not in OBJECTIVES:
            raise InputError(f"unknown objective {key!r} in {where}", hint=suggest(key, OBJECTIVES))
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value < float("inf"):
            raise InputError(f"{where}: {key} is {value!r}", hint="a weight is a number of 0 or more")
    return {key: float(value) for key, value in weights.items()}


def _checked(name: str, values: Mapping[str, Any], own: Mapping[str, Any], kind: Kind) -> Workload:
    where = f"[workloads.{name}]"
    for key, most in COUNTS.items():
        least = 0 if kind == "graph" and key in LENGTHS else 1
        if not _is_number(values[key], int) or not least <= values[key] <= most:
            hint = f"{key} is a whole number from {least} to {most}"
            raise InputError(f"{where}: {key} is {values[key]!r}", hint=hint)
    asked = values["prompt_tokens"] + values["generated_tokens"]
    if "context" not in own:
        values = {**values, "context": max(values["context"], asked)}
    if values["context"] < asked:
        hint = f"set context to {asked} or more"
        raise InputError(f"{where}: a context of {values['context']} can't hold {asked} tokens", hint=hint)
    weights = {**dict.fromkeys(OBJECTIVES, 0.0), **check_weights(values["weights"], f"weights of {where}")}
    if not any(weights.values()):
        raise InputError(f"{where}: all weights are 0", hint="give one objective a weight above 0")
    return Workload(name=name, **{**values, **_optional(where, values, kind), "weights": weights})


def _optional(where: str, values: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """What is asked only now and then, checked; a frame's deadline is the next frame unless it is given."""
    for key, most in STREAM.items():
        if not _is_number(values[key], int, float) or not 0 <= values[key] <= most:
            hint = f"{key} is a number from 0 (none) to {most:g}"
            raise InputError(f"{where}: {key} is {values[key]!r}", hint=hint)
    rate, deadline = float(values["frames_per_s"]), float(values["deadline_ms"])
    if deadline and not rate:
        raise InputError(f"{where}: deadline_ms is {deadline:g} without frames", hint="set frames_per_s too")
    if rate and kind != "graph":
        hint = "leave frames_per_s out; of a model that is shown pictures image_ttft_ms is measured"
        raise InputError(
            f"{where}: frames_per_s is {rate:g}, and a language model takes no frames", hint=hint
        )
    if rate and (values["batch"], values["concurrency"]) != (1, 1):
        hint = "set batch and concurrency to 1: frames of one camera come one by one"
        raise InputError(f"{where}: frames_per_s is {rate:g} beside a batch or clients", hint=hint)
    if not isinstance(values["pictures"], bool):
        raise InputError(f"{where}: pictures is {values['pictures']!r}", hint="pictures is true or false")
    if values["pictures"] and (kind == "graph" or (values["batch"], values["concurrency"]) != (1, 1)):
        hint = "a request with a picture goes to a language model that sees, one at a time"
        raise InputError(f"{where}: pictures for a graph, or beside a batch or clients", hint=hint)
    return {"frames_per_s": rate, "deadline_ms": deadline or (1000 / rate if rate else 0.0)}


def _is_number(value: Any, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)
