"""How tokens are drawn: the model's generation_config.json, overridden by the user."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError

# The default of transformers for a model that asks for sampling without naming it.
_TOP_K = 50


@dataclass(frozen=True)
class SamplingOptions:
    """The user's choices; None: as the model's generation_config.json says. `temperature` 0 is greedy."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None

    @property
    def given(self) -> bool:
        """Return True if the user chose anything but the seed."""
        return any(
            one is not None for one in (self.temperature, self.top_p, self.top_k, self.repetition_penalty)
        )


def settings(options: SamplingOptions, tokenizer: Path | None, *, raw: bool = False) -> dict[str, Any] | None:
    """Return the fields of `Sampling`, or None for greedy generation.

    They are those of generation_config.json in `tokenizer` unless `raw`, and the user's `options` over them. Raises
    InputError for a value that cannot be used.
    """
    return drawn(options, {} if raw else stated_in(tokenizer))


def drawn(options: SamplingOptions, stated: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what `settings` returns, over the content of a generation_config.json, with its `do_sample`.

    The seed is a new one unless it is given.
    """
    _check(options)
    draws = bool(stated.get("do_sample"))
    temperature = stated.get("temperature", 1.0) if draws else 0.0
    if options.temperature is not None:
        temperature = options.temperature
    elif not draws and (options.top_p is not None or options.top_k is not None):
        temperature = 1.0
    fields: dict[str, Any] = {
        "temperature": float(temperature),
        "top_k": int(_first(options.top_k, stated.get("top_k") if draws else None, _TOP_K if draws else 0)),
        "top_p": float(_first(options.top_p, stated.get("top_p") if draws else None, 1.0)),
        "repetition_penalty": float(
            _first(options.repetition_penalty, stated.get("repetition_penalty"), 1.0)
        ),
    }
    if fields["temperature"] == 0 and fields["repetition_penalty"] == 1:
        return None
    return {**fields, "seed": options.seed if options.seed is not None else secrets.randbelow(1 << 31)}


def _check(options: SamplingOptions) -> None:
    limits = (
        ("--temperature", options.temperature, 0.0, 100.0, "0 or more"),
        ("--top-p", options.top_p, 1e-6, 1.0, "above 0, at most 1"),
        ("--top-k", options.top_k, 0, 1 << 31, "0 (all) or more"),
        ("--repetition-penalty", options.repetition_penalty, 1e-3, 100.0, "above 0; 1 is none"),
        ("--seed", options.seed, 0, (1 << 31) - 1, f"from 0 to {(1 << 31) - 1}"),
    )
    for name, value, least, most, hint in limits:
        if value is not None and not least <= value <= most:
            raise InputError(f"{name} is {value}", hint=f"give a number {hint}")


def stated_in(tokenizer: Path | None) -> dict[str, Any]:
    """Return the content of generation_config.json in a folder; nothing without one."""
    path = tokenizer / "generation_config.json" if tokenizer else None
    data = json.loads(path.read_text("utf-8")) if path and path.is_file() else {}
    return data if isinstance(data, dict) else {}


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
