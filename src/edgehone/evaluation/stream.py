"""Frames of a camera before a graph: they come at a steady pace, whether or not the last was answered (worker side).

A frame that comes while another is being answered waits, and a newer one takes its place: what an application does
that must act on what is there now. A frame is dropped where it was replaced so, or answered after its deadline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgehone.core.figure import Figure
from edgehone.evaluation.statistics import mean_interval, share_interval

if TYPE_CHECKING:
    pass


def rate(one: Mapping[str, Any], per_second: float) -> float:
    """Frames answered a second in a round, late ones among them."""
    frames, answered, _ = _counts(one["requests"])
    return per_second * answered / frames


def dropped(rounds: Sequence[Mapping[str, Any]]) -> Figure:
    """`dropped_frames`: a share by rounds, since frames of one process are not independent; where all or none are,
    with Wilson's interval over the frames."""
    counts = [_counts(one["requests"]) for one in rounds]
    came = sum(frames for frames, _, _ in counts)
    lost = [frames - answered + late for frames, answered, late in counts]
    if sum(lost) in (0, came):
        return share_interval(sum(lost), came).figure("share")
    shares = [gone / frames for gone, (frames, _, _) in zip(lost, counts, strict=True)]
    return mean_interval(shares).figure("share", least=0.0, most=1.0)


def _counts(requests: Sequence[Mapping[str, float]]) -> tuple[int, int, int]:
    """Frames that came, that were answered, and that were answered late."""
    frames = sum(int(one["frames"]) for one in requests)
    return frames, len(requests), sum(int(one["late"]) for one in requests)
