"""From the fields of a request to the options of an engine; what it cannot do is refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgehone.inference.sampling import SamplingOptions, settings
from edgehone.serve.http import Refused
from edgehone.serve.model import LanguageModel
from edgehone.serve.openai.requests import ChatRequest, CompletionRequest, Generate

# Smallest and largest value of each number.
_LIMITS: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 100), "top_p": (1e-6, 1), "top_k": (0, 2**31), "min_p": (0, 1), "seed": (-(2**63), 2**63 - 1),
    "repetition_penalty": (1e-3, 100), "frequency_penalty": (-2, 2), "presence_penalty": (-2, 2),
    "max_tokens": (1, 2**31), "max_completion_tokens": (1, 2**31),
}  # fmt: skip
_STOPS = 16
# Values that ask for nothing, of fields that no engine does yet.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,), "logprobs": (False, 0), "top_logprobs": (0,), "logit_bias": ({},), "tools": ([],),
    "tool_choice": ("none", "auto"), "parallel_tool_calls": (True, False), "store": (False,), "best_of": (1,),
    "echo": (False,), "suffix": ("",), "modalities": (["text"],),
}  # fmt: skip
# Fields whose value 0 (or 1) asks for nothing.
_OFF: Mapping[str, float] = {
    "min_p": 0, "frequency_penalty": 0, "presence_penalty": 0, "repetition_penalty": 1, "top_p": 1, "top_k": 0,
}  # fmt: skip


def check(asked: Generate, model: LanguageModel) -> None:
    """Raise Refused for a value that is out of range, or that this model's engine cannot do."""
    for name, (least, most) in _LIMITS.items():
        value = getattr(asked, name, None)
        if value is not None and not (math.isfinite(value) and least <= value <= most):
            raise Refused(400, f"{name} is {value}; give a number from {least:g} to {most:g}", field=name)
    for name, neutral in _NEUTRAL.items():
        value = getattr(asked, name, None)
        if value is not None and value not in neutral:
            raise Refused(400, f"{name} is not supported by this server: leave it out", field=name)
    for name in ("temperature", "top_p", "top_k", "min_p", "seed", *_OFF):
        value = getattr(asked, name)
        asks = (
            value is not None
            and not (name in _OFF and value == _OFF[name])
            and not (name == "temperature" and value == 0)
        )
        if asks and name not in model.engine.options:
            raise Refused(400, f"{name} is not supported by {_backend(model)}: leave it out", field=name)
    if json_schema(asked) is not None and "json_schema" not in model.engine.options:
        raise Refused(400, f"response_format is not supported by {_backend(model)}", field="response_format")
    if len(stops(asked)) > _STOPS:
        raise Refused(400, f"stop has {len(stops(asked))} texts; give at most {_STOPS}", field="stop")


def json_schema(asked: Generate) -> Mapping[str, Any] | None:
    """Return the schema that the answer must satisfy, None for any text. Raises Refused for an unknown format."""
    given = getattr(asked, "response_format", None) or {"type": "text"}
    kind, described = given.get("type"), given.get("json_schema")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    schema = described.get("schema") if isinstance(described, dict) else None
    if kind == "json_schema" and isinstance(schema, dict):
        return schema
    raise Refused(
        400,
        f"response_format is {str(given)[:80]}; give text, json_object or json_schema",
        field="response_format",
    )


def stops(asked: Generate) -> list[str]:
    """Return the stop strings."""
    given = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    return [stop for stop in given if stop]


def count(asked: ChatRequest | CompletionRequest) -> int | None:
    """Return the most new tokens that the request states."""
    return getattr(asked, "max_completion_tokens", None) or asked.max_tokens


def options(asked: Generate, model: LanguageModel, *, raw: bool) -> dict[str, Any]:
    """Return the engine's options: the model's own sampling, unless `raw`, with the request's over it."""
    seed = None if asked.seed is None else asked.seed % 2**31
    # The neutral value of a limit alone would be taken for a wish to draw.
    top_p, top_k = asked.top_p if asked.top_p != 1 else None, asked.top_k or None
    given = SamplingOptions(asked.temperature, top_p, top_k, asked.repetition_penalty, seed)
    drawn = settings(given, model.served.bundle.tokenizer, raw=raw) or {}
    others = ("min_p", "frequency_penalty", "presence_penalty")
    more: dict[str, Any] = {name: value for name in others if (value := getattr(asked, name)) is not None}
    if (schema := json_schema(asked)) is not None:
        more["json_schema"] = schema
    return {name: value for name, value in {**drawn, **more}.items() if name in model.engine.options}


def _backend(model: LanguageModel) -> str:
    return str(model.served.bundle.manifest.recipe["backend"])
