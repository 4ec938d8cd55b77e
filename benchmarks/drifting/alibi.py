"""alibi-detect's online detector on normal values; runs in its environment: `python alibi.py < task.json`."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np


def main(
    runs: int, references: int, size: int, ert: int, bootstraps: int, count: int, at: int
) -> dict[str, Any]:
    """Return false alarms in clean streams, and the median delay for a shift of 0.5 standard deviations.

    The thresholds of a detector depend on its reference and take a minute, so several streams have the same one.
    """
    from alibi_detect.cd import CVMDriftOnline

    false, delays = 0, []
    for seed in range(references):
        random = np.random.default_rng(seed)
        detector = CVMDriftOnline(
            random.normal(size=size).astype(np.float32), ert=ert, window_sizes=[32, 64, 128],
            n_bootstraps=bootstraps, verbose=False,
        )  # fmt: skip
        for _ in range(runs // references):
            detector.reset_state()
            false += _first(detector, random.normal(size=count)) < math.inf
            detector.reset_state()
            delays.append(_first(detector, random.normal(0.5, 1, 4 * at)))
    return {"ert": ert, "false": false, "delay": float(np.median(delays))}


def _first(detector: Any, values: Any) -> float:
    """Return after how many values it raises an alarm, infinity if it does not."""
    found = (number for number, x in enumerate(values) if detector.predict(float(x))["data"]["is_drift"])
    return next(found, math.inf) + 1


if __name__ == "__main__":
    json.dump(main(**json.load(sys.stdin)), sys.stdout)
