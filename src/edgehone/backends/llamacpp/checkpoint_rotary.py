"""The rotary positions of a GGUF file as transformers' `rope_parameters` (worker side)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgehone.core.errors import ModelError

# llama.cpp's default.
_BASE = 10000.0
# Llama 3.1 to 3.3 have these; they differ in the factor. The converter stores the divisors of the frequencies only.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def rotary(
    stated: Mapping[str, Any], windows: float | None, length: int, divisors: Sequence[float] | None
) -> dict[str, Any]:
    """Return `rope_parameters` for heads of `length`.

    `stated`: the file's keys without its architecture. `windows`: the base of layers with a sliding window if the file
    states none; None if all layers have the same. `divisors` of the frequencies: the file's rope_freqs.weight, if it
    has one. Raises ModelError for divisors that are not those of Llama 3.
    """
    base = float(stated.get("rope.freq_base", _BASE))
    whole: dict[str, Any] = {"rope_type": "default", "rope_theta": base}
    if divisors is not None:
        whole = {"rope_type": "llama3", "rope_theta": base, "factor": max(divisors), **_LLAMA3}
        expected = llama3_divisors(whole, length)
        same = len(expected) == len(divisors) and all(
            math.isclose(*pair, rel_tol=1e-4) for pair in zip(expected, divisors, strict=True)
        )
        if not same:
            raise ModelError(
                "the file's rope_freqs.weight is not that of a Llama 3, so it has no place in a checkpoint",
                hint="use the recipes without GPTQ, or give the float original",
            )
    if windows is None:
        return whole
    local = {"rope_type": "default", "rope_theta": float(stated.get("rope.freq_base_swa", windows))}
    return {"full_attention": whole, "sliding_attention": local}


def llama3_divisors(parameters: Mapping[str, Any], length: int) -> list[float]:
    """Return what the frequencies of a head of `length` are divided by, as llama.cpp's converter does (llama.py)."""
    factor, low, high = (parameters[name] for name in ("factor", "low_freq_factor", "high_freq_factor"))
    original = parameters["original_max_position_embeddings"]
    found = []
    for at in range(0, length, 2):
        wave = 2 * math.pi * parameters["rope_theta"] ** (at / length)
        smooth = (original / wave - low) / (high - low)
        middle = 1 / ((1 - smooth) / factor + smooth) if 0 <= smooth <= 1 else 0.0
        found.append(1.0 if wave < original / high else factor if wave > original / low else middle)
    return found
