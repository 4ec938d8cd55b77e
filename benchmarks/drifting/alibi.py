"""alibi-detect's online detector on normal values; runs in its environment: `python alibi.py < task.json`."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

# Its thresholds are quantiles of 1 - 1 / ERT, which need more bootstraps than ERT.
ERT = 10_000


def main(runs: int, count: int, at: int) -> dict[str, Any]:
    """Return false alarms in clean streams, and the median delay for a shift of 0.5 standard deviations."""
    from alibi_detect.cd import CVMDriftOnline

    false, delays = 0, []
    for seed in range(runs):
        random = np.random.default_rng(seed)
        detector = CVMDriftOnline(
            random.normal(size=2000), ert=ERT, window_sizes=[32, 64, 128], n_bootstraps=12_000, verbose=False
        )
        false += any(
            detector.predict(x)["data"]["is_drift"] for x in random.normal(size=count).astype(np.float32)
        )
        detector.reset_state()
        for number, x in enumerate(random.normal(0.5, 1, 4 * at).astype(np.float32)):
            if detector.predict(x)["data"]["is_drift"]:
                delays.append(number + 1)
                break
    return {"ert": ERT, "false": false, "delay": float(np.median(delays))}


if __name__ == "__main__":
    json.dump(main(**json.load(sys.stdin)), sys.stdout)
