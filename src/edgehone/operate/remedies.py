"""The remedies by symptom and framework: remedies.toml, checked field by field."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from edgehone.core import typed_json
from edgehone.core.typed_json import OPTIONAL

TABLE = Path(__file__).with_name("remedies.toml")
Kind = Literal["settings", "limits", "bundle", "restart", "control_group", "reoptimize"]


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """An entry; the head of remedies.toml says what the fields are."""

    name: str
    symptoms: tuple[str, ...]
    action: Kind
    says: str
    backends: tuple[str, ...] = field(default=(), metadata=OPTIONAL)
    kinds: tuple[str, ...] = field(default=(), metadata=OPTIONAL)
    causes: tuple[str, ...] = field(default=(), metadata=OPTIONAL)
    not_causes: tuple[str, ...] = field(default=(), metadata=OPTIONAL)
    when: tuple[Mapping[str, Any], ...] = field(default=(), metadata=OPTIONAL)
    values: Mapping[str, Any] = field(default_factory=dict, metadata=OPTIONAL)
    times: float | None = field(default=None, metadata=OPTIONAL)
    choose: str | None = field(default=None, metadata=OPTIONAL)
    source: str | None = field(default=None, metadata=OPTIONAL)


@lru_cache(maxsize=1)
def table() -> tuple[Remedy, ...]:
    """Return the entries, in the order in which they are tried."""
    entries = tomllib.loads(TABLE.read_text("utf-8"))["remedy"]
    return tuple(typed_json.read(Remedy, one, f"{TABLE.name}: {one.get('name')}") for one in entries)


def fitting(symptom: str, backend: str, kind: str, found: Sequence[str]) -> list[Remedy]:
    """Return the remedies of a symptom for a backend and a kind of model, where these causes were found."""
    return [
        one
        for one in table()
        if symptom in one.symptoms
        and backend in (one.backends or (backend,))
        and kind in (one.kinds or (kind,))
        and (not one.causes or set(one.causes) & set(found))
        and not set(one.not_causes) & set(found)
    ]
