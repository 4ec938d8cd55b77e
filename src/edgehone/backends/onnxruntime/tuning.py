"""Session settings by measurement: each candidate against the default, in interleaved rounds (worker side)."""

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
# Until the last session's waiting threads have stopped spinning.
_PAUSE_SECONDS = 0.005
# A setting must be faster by so much in at least so many of the rounds, else the default stays: other builds may be
# running beside, and a coin gives 12 of 15 in 2 % of all cases only.
_GAIN = 0.97
_WON = 12


def tune(
    path: Path, candidates: Sequence[Mapping[str, Any]], feeds: Mapping[str, NDArray[Any]], threads: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The fastest settings for `feeds`, {} where none is clearly faster than the default, and what was measured.

    Each measured entry has `settings`, `ms` (median over rounds of one run), `ratio` to the default (median over
    rounds) and `won` (rounds in which it was faster by 3 %).
    """
    import numpy as np

    settings: list[Mapping[str, Any]] = [{}, *candidates]
    sessions = [OrtSession(path, one, threads) for one in settings]
    for session in sessions:
        session.run(feeds)
    rounds = np.array([[_milliseconds(session, feeds) for session in sessions] for _ in range(ROUNDS)])
    ratios = rounds / rounds[:, :1]
    told: list[dict[str, Any]] = [
        {
            "settings": dict(one),
            "ms": float(np.median(rounds[:, at])),
            "ratio": float(np.median(ratios[:, at])),
            "won": int((ratios[:, at] < _GAIN).sum()),
        }
        for at, one in enumerate(settings)
    ]
    best = min((one for one in told if one["won"] >= _WON), key=lambda one: one["ratio"], default=told[0])
    return best["settings"], told


def _milliseconds(session: OrtSession, feeds: Mapping[str, NDArray[Any]]) -> float:
    """Of one run, the mean over a round."""
    time.sleep(_PAUSE_SECONDS)
    session.run(feeds)
    started, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < _ROUND_SECONDS or count < 3:
        session.run(feeds)
        count += 1
    return 1000 * spent / count
