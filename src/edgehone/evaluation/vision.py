"""Quality figures of vision-language models. The pictures are the independent samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st

FIRST = "image_ttft_ms"
UNITS = {"vision_kl_mean": "nats", "vision_same_top": "share", "vision_max_error": "nats", FIRST: "ms"}
# Below this divergence (nats) between the answers to the picture and to a grey one the original ignores pictures, and a
# candidate's agreement with it means nothing. The rounding of a 16-bit build is about 1e-5.
LEAST_MATTERS = 1e-4


def figures(scored: Path, matters: float) -> dict[str, Figure]:
    """Return vision_kl_mean (nats), vision_same_top (share) and vision_max_error (nats).

    `scored` has what `worker.score_pictures` wrote. `matters` is the divergence (nats) that the picture makes in the
    reference; if it is below LEAST_MATTERS, the figures are missing.
    """
    import numpy as np

    if not matters >= LEAST_MATTERS:
        reason = (
            f"the pictures change the original's answers by only {matters:.2g} nats, too little to compare"
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
    """Check that the unquantized build answers about pictures as the original does. A missing figure fails.

    Return whether it passes, and the figures as a sentence.
    """
    kl, top = figures["vision_kl_mean"], figures["vision_same_top"]
    if kl.value is None or top.value is None:
        return False, f"with pictures it could not be compared: {kl.reason or top.reason}"
    most, least = tolerance["vision_kl_mean_max"], tolerance["vision_same_top_min"]
    result = f"with pictures it diverges by {kl.value:.2g} nats per token and picks {top.value:.1%} of the same tokens"
    if not (kl.value <= most and top.value >= least):
        return False, f"{result} (at most {most:g}, at least {least:.0%})"
    return True, result


def first_token(seconds: Sequence[float]) -> Figure:
    """Return the time from a picture to the first token, the mean over the pictures of one process."""
    return st.mean_interval([1000 * one for one in seconds]).figure("ms", least=0.0)
