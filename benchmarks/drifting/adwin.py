"""The same streams watched by river's ADWIN; runs in the environment that has river: `python adwin.py < task.json`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.drifting import streams


def first_alarm(values: list[float], delta: float, after: int = 0) -> float:
    """Return how many values after `after` the first alarm is raised, infinity if there is none."""
    from river.drift import ADWIN

    detector = ADWIN(delta=delta)
    for number, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected and number >= after:
            return number + 1 - after
    return math.inf


def single(family: str, deltas: list[float], runs: int, count: int, at: int) -> dict[str, Any]:
    """Return false alarms and delays of each delta for one value."""
    result: dict[str, Any] = {"false": {}, "delays": {}}
    for delta in deltas:
        false = [
            first_alarm(streams.value(np.random.default_rng(seed), count, family).tolist(), delta) < math.inf
            for seed in range(runs)
        ]
        delays = [
            first_alarm(
                streams.value(np.random.default_rng(10**6 + seed), 3 * at, family, at).tolist(), delta, at
            )
            for seed in range(100)
        ]
        result["false"][delta], result["delays"][delta] = sum(false), float(np.median(delays))
    return result


def whole(family: str, deltas: list[float], runs: int, count: int, at: int) -> dict[str, Any]:
    """Return streams of requests in which any of the values alarms falsely, and the delay for longer prompts."""
    result: dict[str, Any] = {"false": {}, "delays": {}}
    for delta in deltas:
        false = 0
        for seed in range(runs):
            columns = streams.requests(np.random.default_rng(seed), count, family)
            columns["length"] = streams.length(columns)
            false += any(
                first_alarm(columns[name].astype(float).tolist(), delta) < math.inf for name in streams.VALUES
            )
        delays = []
        for seed in range(40):
            random = np.random.default_rng(10**6 + seed)
            columns = streams.requests(random, 4 * at, family)
            columns["z"][at:] += 0.5
            delays.append(first_alarm(streams.length(columns).astype(float).tolist(), delta, at))
        result["false"][delta], result["delays"][delta] = false, float(np.median(delays))
    return result


if __name__ == "__main__":
    task = json.load(sys.stdin)
    function = {"single": single, "whole": whole}[task.pop("function")]
    json.dump(function(**task), sys.stdout)
