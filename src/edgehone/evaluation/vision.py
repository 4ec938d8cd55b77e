"""Core side of pictures: what a candidate made of them becomes figures. The pictures are the independent samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st

FIRST = "image_ttft_ms"
UNITS = {"vision_kl_mean": "nats", "vision_same_top": "share", "vision_max_error": "nats", FIRST: "ms"}
# Below this divergence (nats) between the right picture and a grey one, the original does not look at pictures, and
# that a candidate agrees with it says nothing. A 16-bit build's own rounding is some 1e-5.
LEAST_MATTERS = 1e-4


def figures(scored: Path, matters: float) -> dict[str, Figure]:
    """vision_kl_mean (nats), vision_same_top (share), vision_max_error (nats) of what `score_pictures.score` wrote.

    `matters` is the reference's: where the picture changes nothing the figures are missing, with that reason.
    """
    import numpy as np

    if not matters >= LEAST_MATTERS:
        reason = (
            f"the pictures change the original's answers by {matters:.2g} nats only: nothing can be compared"
        )
        return {name: Figure.missing(reason, unit) for name, unit in UNITS.items() if name != FIRST}
    with np.load(scored / "pictures.npz", allow_pickle=False) as file:
        rows = {name: file[name].astype(np.float64) for name in file.files}
    pictures = rows["picture"]
    return {
        "vision_kl_mean": st.clustered_mean(rows["kl"], pictures).figure("nats", least=0.0),
        "vision_same_top": st.clustered_mean(rows["same_top"], pictures).figure("share", least=0.0, most=1.0),
        "vision_max_error": Figure(float(rows["max_error"].max()), n=len(set(pictures)), unit="nats"),
    }


def parity_check(figures: Mapping[str, Figure], tolerance: Mapping[str, float]) -> tuple[bool, str]:
    """Whether the unquantized build sees what the original sees, and by which figures; a missing one fails."""
    kl, top = figures["vision_kl_mean"], figures["vision_same_top"]
    if kl.value is None or top.value is None:
        return False, f"shown pictures it could not be compared: {kl.reason or top.reason}"
    most, least = tolerance["vision_kl_mean_max"], tolerance["vision_same_top_min"]
    seen = f"shown pictures it diverges by {kl.value:.2g} nats per token and picks {top.value:.1%} of the same tokens"
    if not (kl.value <= most and top.value >= least):
        return False, f"{seen} (at most {most:g}, at least {least:.0%})"
    return True, seen


def first_token(seconds: Sequence[float]) -> Figure:
    """From a picture to the first token: mean over the pictures of one process."""
    return st.mean_interval([1000 * one for one in seconds]).figure("ms", least=0.0)
