"""From the fields of a request to the options of an engine; what it cannot do is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.inference.sampling import SamplingOptions, drawn
from edgehone.serve.http import Refused
from edgehone.serve.model import LanguageModel
from edgehone.serve.openai.requests import ChatRequest, CompletionRequest, Generate
from edgehone.serve.openai.schemas import backend, check_held, check_schema, held, schema_option

# Values that ask for nothing, of fields that no engine does yet.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "logit_bias": ({},), "store": (False,), "suffix": ("",), "modalities": (["text"],),
}  # fmt: skip
# Fields whose value 0 (or 1) asks for nothing.
_OFF: Mapping[str, float] = {
    "min_p": 0, "frequency_penalty": 0, "presence_penalty": 0, "repetition_penalty": 1, "top_p": 1, "top_k": 0,
}  # fmt: skip


def check(asked: Generate, model: LanguageModel) -> None:
    """Raise Refused for what this server, or this model's engine, cannot do."""
    for name, neutral in _NEUTRAL.items():
        value = getattr(asked, name, None)
        if value is not None and value not in neutral:
            raise Refused(400, f"{name} is not supported by this server: leave it out", field=name)
    if (best := getattr(asked, "best_of", None)) is not None and best != (asked.n or 1):
        raise Refused(400, f"best_of is {best}; only n choices are generated: leave it out", field="best_of")
    for name in ("temperature", "top_p", "top_k", "min_p", "seed", *_OFF):
        value = getattr(asked, name)
        asks = (
            value is not None
            and not (name in _OFF and value == _OFF[name])
            and not (name == "temperature" and value == 0)
        )
        if asks and name not in model.engine.options:
            raise Refused(400, f"{name} is not supported by {backend(model)}: leave it out", field=name)
    if json_schema(asked) is not None:
        check_held(model, "response_format", "leave it out")
    if isinstance(asked, CompletionRequest) and asked.echo and asked.logprobs is not None:
        raise Refused(
            400, "echo and logprobs exclude each other: those of a prompt are not known", field="echo"
        )
    _check_logprobs(asked, model)


def _check_logprobs(asked: Generate, model: LanguageModel) -> None:
    wanted = logprobs(asked)
    if getattr(asked, "top_logprobs", None) and "logprobs" not in wanted:
        raise Refused(400, "top_logprobs needs logprobs: true", field="top_logprobs")
    for name in wanted:
        if name not in model.engine.options:
            least = (
                "only those of the tokens themselves are given" if name == "top_logprobs" else "leave it out"
            )
            field = "logprobs" if isinstance(asked, CompletionRequest) else name
            raise Refused(400, f"{name} is not supported by {backend(model)}: {least}", field=field)


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
        check_schema(schema, "response_format")
        return schema
    raise Refused(
        400,
        f"response_format is {str(given)[:80]}; give text, json_object or json_schema",
        field="response_format",
    )


def logprobs(asked: Generate) -> dict[str, int]:
    """Return the engine's options for log-probabilities: none, of the tokens, or also of the likeliest others."""
    if isinstance(asked, CompletionRequest):
        given, top = asked.logprobs is not None, asked.logprobs
    else:
        given, top = bool(getattr(asked, "logprobs", None)), getattr(asked, "top_logprobs", None)
    return {"logprobs": 1, **({"top_logprobs": top} if top else {})} if given else {}


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
    sampled = drawn(given, {} if raw else model.served.sampling) or {}
    others = ("min_p", "frequency_penalty", "presence_penalty")
    more: dict[str, Any] = {name: value for name in others if (value := getattr(asked, name)) is not None}
    if (schema := json_schema(asked)) is not None and (option := schema_option(model)):
        more[option] = held(schema, model, "response_format")
    more |= logprobs(asked)
    return {name: value for name, value in {**sampled, **more}.items() if name in model.engine.options}


def of_choice(chosen: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    """Return the engine's options of a choice: each draws with a seed of its own."""
    return {**chosen, "seed": (chosen["seed"] + index) % 2**31} if index and "seed" in chosen else chosen
