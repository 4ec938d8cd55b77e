"""Figures of a stream of camera frames, which arrive at a fixed rate whether or not the last one was answered.

A frame that arrives while another is being processed waits, and is replaced by the next one: an application that reacts
to the present image works like this. A frame counts as dropped if it was replaced or answered after its deadline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgehone.core.figure import Figure
from edgehone.evaluation.statistics import mean_interval, share_interval


def rate(one: Mapping[str, Any], per_second: float) -> float:
    """Return the frames answered per second in a round, late ones included."""
    frames, answered, _ = _counts(one["requests"])
    return per_second * answered / frames


def dropped(rounds: Sequence[Mapping[str, Any]]) -> Figure:
    """Return `dropped_frames`, the share of dropped frames.

    The interval is over rounds, since frames of one process are not independent; if all or none are dropped, it is
    Wilson's over the frames.
    """
    counts = [_counts(one["requests"]) for one in rounds]
    arrived = sum(frames for frames, _, _ in counts)
    lost = [frames - answered + late for frames, answered, late in counts]
    if sum(lost) in (0, arrived):
        return share_interval(sum(lost), arrived).figure("share")
    shares = [gone / frames for gone, (frames, _, _) in zip(lost, counts, strict=True)]
    return mean_interval(shares).figure("share", least=0.0, most=1.0)


def _counts(requests: Sequence[Mapping[str, float]]) -> tuple[int, int, int]:
    """Return the numbers of frames that arrived, were answered, and were answered late."""
    frames = sum(int(one["frames"]) for one in requests)
    return frames, len(requests), sum(int(one["late"]) for one in requests)
