"""Weights beyond float16 are found and named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgehone.model.extremes import beyond_float16


def stored(folder: Path, **tensors: Any) -> tuple[Path, tuple[str, ...]]:
    save_file({name: np.asarray(one) for name, one in tensors.items()}, folder / "model.safetensors")
    return folder, ("config.json", "model.safetensors")


@pytest.mark.parametrize("value", [65505.0, -70000.0, 3e38, math.inf, -math.inf])
def test_the_largest_weight_is_named(tmp_path: Path, value: float) -> None:
    small, large = np.full((3, 5), 2.0, np.float32), np.full((40, 3), 1.0, np.float32)
    large[17, 1] = value
    found = beyond_float16(*stored(tmp_path, small=small, large=large, half=np.full(3, 60000, np.float16)))
    assert found is not None
    assert found[:2] == ("model.safetensors", "large") and found[2] == pytest.approx(abs(value))


def test_a_nan_is_named(tmp_path: Path) -> None:
    found = beyond_float16(
        *stored(tmp_path, a=np.array([1e30], np.float32), b=np.array([math.nan], np.float32))
    )
    assert found is not None and found[1] == "b" and math.isnan(found[2])


def test_ordinary_weights_are_not(tmp_path: Path) -> None:
    limits = np.array([65504.0, -65504.0, 0.0], np.float32)
    assert beyond_float16(*stored(tmp_path, w=limits, empty=np.zeros((0, 4), np.float32))) is None


def test_bfloat16_is_read(tmp_path: Path) -> None:
    import json

    bits = np.array([0x3F80, 0xC7C3], np.uint16)  # 1.0 and -99840.0
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    raw = len(header).to_bytes(8, "little") + header + bits.tobytes()
    (tmp_path / "model.safetensors").write_bytes(raw)
    assert beyond_float16(tmp_path, ("model.safetensors",)) == ("model.safetensors", "w", 99840.0)
