"""Windows of the calibration ids, for builds that read them (worker side)."""

from __future__ import annotations

import json
from pathlib import Path

from edgehone.errors import TextError

_LEAST_COUNT = 4
_LEAST_LENGTH = 16


def windows(folder: Path, count: int, length: int) -> list[list[int]]:
    """At most `count` windows of `length` ids, BOS first, spread over all the ids of a calibration folder.

    A short text gives shorter windows before it gives too few. TextError where it is too short for that.
    """
    ids = json.loads((folder / "ids.json").read_text("utf-8"))
    bos = json.loads((folder / "bos.json").read_text("utf-8")) if (folder / "bos.json").exists() else []
    length -= len(bos)
    while length > _LEAST_LENGTH and len(ids) // length < _LEAST_COUNT:
        length //= 2
    count = min(count, len(ids) // length)
    if count < _LEAST_COUNT:
        raise TextError(
            f"the calibration text has {len(ids)} tokens: too few for {_LEAST_COUNT} windows of {length}",
            hint="give a longer text with --calibrate FILE",
        )
    stride = (len(ids) - length) // max(1, count - 1)
    return [bos + ids[i * stride : i * stride + length] for i in range(count)]
