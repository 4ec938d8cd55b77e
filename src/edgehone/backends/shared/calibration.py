"""Windows of the calibration ids, for toolchains that learn from token ids (worker side)."""

from __future__ import annotations

import json
from pathlib import Path

from edgehone.core.errors import TextError

# 64 windows of 256 tokens are 16,384 positions: enough for statistics of the channels.
SAMPLES = 64
LENGTH = 256
_LEAST_SAMPLES = 4
_LEAST_LENGTH = 16


def windows(folder: Path, context: int, most: int = SAMPLES) -> list[list[int]]:
    """Windows of equal length spread over all of the text, each with the model's BOS ids in front.

    `folder` is what `measure.prepare` wrote; a window is at most `context` ids long. Raises TextError for a
    text that is too short.
    """
    ids: list[int] = json.loads((folder / "ids.json").read_text("utf-8"))
    path = folder / "bos.json"
    bos: list[int] = json.loads(path.read_text("utf-8")) if path.exists() else []
    length = min(LENGTH, context) - len(bos)
    # A short text gives shorter windows before it gives too few.
    while length > _LEAST_LENGTH and len(ids) // length < _LEAST_SAMPLES:
        length //= 2
    count = min(most, len(ids) // length)
    if count < _LEAST_SAMPLES:
        raise TextError(
            f"the calibration text has {len(ids)} tokens: too few for {_LEAST_SAMPLES} windows of {length}",
            hint="give a longer text with --calibrate FILE",
        )
    stride = (len(ids) - length) // max(1, count - 1)
    return [bos + ids[i * stride : i * stride + length] for i in range(count)]
