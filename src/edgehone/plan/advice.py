"""Advice on threads, SIMD, caches, batches, precisions and accelerators, read from advice.toml with its sources."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgehone.model.info import ModelInfo
from edgehone.plan.target import PredictionTarget


@dataclass(frozen=True)
class Advice:
    """A piece of advice and its source."""

    says: str
    source: str


def advice(target: PredictionTarget, backends: Sequence[str], model: ModelInfo) -> list[Advice]:
    """Return the advice that applies to a model on a target, for the backends in the plan."""
    return [
        Advice(one["says"], one["source"]) for one in _table() if _applies(one["if"], target, backends, model)
    ]


@lru_cache(maxsize=1)
def _table() -> list[Mapping[str, Any]]:
    entries: list[Mapping[str, Any]] = tomllib.loads(
        Path(__file__).with_name("advice.toml").read_text("utf-8")
    )["advice"]
    return entries


def _applies(
    condition: Mapping[str, Any], target: PredictionTarget, backends: Sequence[str], model: ModelInfo
) -> bool:
    memory, cache = target.memory_bytes, target.last_cache
    holds: dict[str, Callable[[Any], bool]] = {
        "backend": lambda value: value in backends,
        "row": lambda value: target.row == value,
        "kind": lambda value: model.kind == value,
        "simd": lambda value: value in target.simd,
        "simd_without": lambda value: value not in target.simd,
        "threads_over": lambda value: target.threads > value,
        "memory_under_gb": lambda value: memory is not None and memory < value * 1e9,
        "accelerator": lambda value: any(value in one for one in target.accelerators),
        # The weights at `value` bits fit into half of the last-level cache.
        "cached_at_bits": lambda value: cache is not None and 2 * model.parameters * value / 8 <= cache,
    }
    return all(holds[name](value) for name, value in condition.items())
