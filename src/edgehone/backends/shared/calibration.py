"""Windows of the calibration ids, for toolchains that calibrate on token ids (worker side)."""

from __future__ import annotations

import json
from pathlib import Path

from edgehone.core.errors import TextError

# 64 windows of 256 tokens are 16,384 positions, enough for channel statistics.
SAMPLES = 64
LENGTH = 256
_MIN_SAMPLES = 4
_MIN_LENGTH = 16


def windows(folder: Path, context: int, most: int = SAMPLES) -> list[list[int]]:
    """Return at most `most` windows of equal length, spread over the text, each starting with the model's BOS ids.

    `folder` is the calibration folder that `edgehone.worker.prepare` wrote. A window has at most `context` ids. Raises
    TextError for a text that is too short.
    """
    ids: list[int] = json.loads((folder / "ids.json").read_text("utf-8"))
    path = folder / "bos.json"
    bos: list[int] = json.loads(path.read_text("utf-8")) if path.exists() else []
    length = min(LENGTH, context) - len(bos)
    # For a short text, shorten the windows before having too few of them.
    while length > _MIN_LENGTH and len(ids) // length < _MIN_SAMPLES:
        length //= 2
    count = min(most, len(ids) // length)
    if count < _MIN_SAMPLES:
        raise TextError(
            f"the calibration text has {len(ids)} tokens: too few for {_MIN_SAMPLES} windows of {length}",
            hint="give a longer text with --calibrate FILE",
        )
    stride = (len(ids) - length) // max(1, count - 1)
    return [bos + ids[i * stride : i * stride + length] for i in range(count)]
