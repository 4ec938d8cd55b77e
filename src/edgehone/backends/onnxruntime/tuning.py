"""Choose session settings by measurement: compare candidates with the default in interleaved rounds (worker side)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.onnxruntime.session import OrtSession

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDS = 15
_ROUND_SECONDS = 0.02
# Lets the previous session's waiting threads stop spinning.
_PAUSE_SECONDS = 0.005
# A setting replaces the default only if its time is below this ratio in at least this many of the 15 rounds. Other
# builds may run at the same time and disturb single rounds; by chance, 12 of 15 rounds are won in 2 % of cases.
_RATIO = 0.97
_MIN_WON = 12


def tune(
    path: Path, candidates: Sequence[Mapping[str, Any]], feeds: Mapping[str, NDArray[Any]], threads: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the fastest settings for `feeds` ({} if none is clearly faster than the default), and all measurements.

    Each measurement has `settings`, `ms` (median over rounds of the time of one run), `ratio` to the default (median
    over rounds) and `won` (the number of rounds in which it was faster by more than 3 %).
    """
    import numpy as np

    settings: list[Mapping[str, Any]] = [{}, *candidates]
    sessions = [OrtSession(path, one, threads) for one in settings]
    for session in sessions:
        session.run(feeds)
    rounds = np.array([[_milliseconds(session, feeds) for session in sessions] for _ in range(ROUNDS)])
    ratios = rounds / rounds[:, :1]
    measured: list[dict[str, Any]] = [
        {
            "settings": dict(one),
            "ms": float(np.median(rounds[:, at])),
            "ratio": float(np.median(ratios[:, at])),
            "won": int((ratios[:, at] < _RATIO).sum()),
        }
        for at, one in enumerate(settings)
    ]
    best = min(
        (one for one in measured if one["won"] >= _MIN_WON), key=lambda one: one["ratio"], default=measured[0]
    )
    return best["settings"], measured


def _milliseconds(session: OrtSession, feeds: Mapping[str, NDArray[Any]]) -> float:
    """Return the time of one run, averaged over a round."""
    time.sleep(_PAUSE_SECONDS)
    session.run(feeds)
    started, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < _ROUND_SECONDS or count < 3:
        session.run(feeds)
        count += 1
    return 1000 * spent / count
