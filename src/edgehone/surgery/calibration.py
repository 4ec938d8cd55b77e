"""Windows of the calibration ids, spread over all of them (worker side)."""

from __future__ import annotations

import json
from pathlib import Path

from edgehone.errors import TextError

WINDOWS = 16
WINDOW = 256
_LEAST_WINDOWS = 2
_LEAST_WINDOW = 16


def windows(folder: Path, context: int | None, count: int = WINDOWS, length: int = WINDOW) -> list[list[int]]:
    """Up to `count` windows of at most `length` ids each, BOS included.

    Raises TextError for a text of fewer than 32 ids.
    """
    ids = json.loads((folder / "ids.json").read_text("utf-8"))
    bos = json.loads((folder / "bos.json").read_text("utf-8")) if (folder / "bos.json").exists() else []
    text = min(length, context or length) - len(bos)
    # A short text gives shorter windows before it gives too few.
    while text > _LEAST_WINDOW and len(ids) // text < _LEAST_WINDOWS:
        text //= 2
    count = min(count, len(ids) // max(text, 1))
    if count < _LEAST_WINDOWS:
        raise TextError(
            f"the calibration text has {len(ids)} tokens: too few for {_LEAST_WINDOWS} windows of {text}",
            hint="give a longer text with --calibrate FILE",
        )
    stride = (len(ids) - text) // max(1, count - 1)
    return [bos + ids[i * stride : i * stride + text] for i in range(count)]
