"""Quality figures of a language model, each paired with the original.

Both folders have what `worker.score` wrote for the same windows. The windows are the independent samples, so every n
is a number of windows, or of task items for the accuracy of a task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import EdgehoneError
from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st
from edgehone.evaluation.tokens import TokenComparison

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Columns = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class ParityCheck:
    """Whether a backend's unquantized build matches the original, and the figures that show it."""

    ok: bool
    reason: str
    tokens: TokenComparison | None = None  # None if no text is tokenized


def figures(reference_dir: Path, score_dir: Path, *, first: bool = False) -> dict[str, Figure]:
    """Return the quality figures of one candidate, or of the original (with both folders the same).

    kl_mean, kl_p99 (nats per token, KL(original || candidate)); max_error, mean_error (nats, |difference| of
    log-probabilities: the largest over all tokens and ids, which has no interval, and the mean); same_top,
    next_token_accuracy, accuracy_kept (shares; the last is candidate / original); perplexity,
    perplexity_ratio; bits_per_byte; task_accuracy, task_accuracy_kept.

    With `first` the candidate may have been scored on the first windows only. Raises EdgehoneError if the two were not
    scored on the same tokens.
    """
    reference, candidate = _pair(reference_dir, score_dir, first)
    windows = candidate["window"]
    result = {
        "kl_mean": st.clustered_mean(candidate["kl"], windows).figure("nats", least=0.0),
        "kl_p99": _p99(candidate),
        "max_error": Figure(float(candidate["max_error"].max()), n=len(set(windows)), unit="nats"),
        "mean_error": st.clustered_mean(candidate["mean_error"], windows).figure("nats", least=0.0),
        "same_top": share(candidate["same_top"], windows),
        "next_token_accuracy": share(candidate["correct"], windows),
        "accuracy_kept": kept_ratio(
            candidate["correct"], reference["correct"], windows, "the original predicts no token correctly"
        ),
        "perplexity": _exponential(st.clustered_mean(candidate["nll"], windows)),
        "perplexity_ratio": _exponential(st.clustered_mean(candidate["nll"] - reference["nll"], windows)),
        "bits_per_byte": _bits(candidate),
    }
    return result | _task_figures(reference_dir, score_dir)


def kept_by_window(reference_dir: Path, score_dir: Path) -> NDArray[np.float64]:
    """Return the quality that is kept in each window (more is better), to compare two candidates in pairs.

    It is the share of correct tokens that is kept, minus 1, minus the divergence in nats. Near the original this is the
    logarithm of the objective quality (`decision.choice`).
    """
    import numpy as np

    reference, candidate = _pair(reference_dir, score_dir)
    index = candidate["window"].astype(int)
    sizes = np.bincount(index)
    gained = np.bincount(index, weights=candidate["correct"] - reference["correct"]) / sizes
    share = max(float(reference["correct"].mean()), 1e-9)
    kept: NDArray[np.float64] = gained / share - np.bincount(index, weights=candidate["kl"]) / sizes
    return kept


def parity_check(
    tokens: TokenComparison, figures: Mapping[str, Figure], tolerance: Mapping[str, float]
) -> ParityCheck:
    """Check a backend by its unquantized build: the token ids first, then the logits.

    `figures` are those of the unquantized build, `tolerance` is the table [null_test] of data/requirements.toml:
    kl_mean_max (nats) and same_top_min (share). A missing figure fails.
    """
    if tokens.fault:
        return ParityCheck(False, tokens.fault, tokens)
    kl, top = figures["kl_mean"].value, figures["same_top"].value
    if kl is None or top is None:
        reason = figures["kl_mean"].reason or figures["same_top"].reason
        return ParityCheck(False, f"its unquantized build could not be compared: {reason}", tokens)
    most, least = tolerance["kl_mean_max"], tolerance["same_top_min"]
    result = (
        f"its unquantized build diverges by {kl:.2g} nats per token and picks {top:.1%} of the same tokens"
    )
    if not (kl <= most and top >= least):  # so that NaN fails
        return ParityCheck(False, f"{result} (at most {most:g}, at least {least:.0%})", tokens)
    ids = "token ids equal" if tokens.equal else f"{tokens.mismatch.value:.2%} of the token ids differ"
    return ParityCheck(True, f"{ids}; {result}", tokens)


def _pair(reference_dir: Path, score_dir: Path, first: bool = False) -> tuple[Columns, Columns]:
    """Return the columns of both files; with `first` the reference's are cut to the candidate's windows."""
    reference, candidate = _load(reference_dir / "tokens.npz"), _load(score_dir / "tokens.npz")
    if first:
        reference = {name: column[: candidate["window"].size] for name, column in reference.items()}
    if (
        reference["window"].shape != candidate["window"].shape
        or (reference["window"] != candidate["window"]).any()
    ):
        raise EdgehoneError(f"{score_dir} was not scored on the windows of {reference_dir}")
    return reference, candidate


def _load(path: Path) -> Columns:
    import numpy as np

    with np.load(path) as file:
        return {name: file[name].astype(np.float64) for name in file.files}


def _p99(candidate: Columns) -> Figure:
    needed = st.percentile_needs(0.99)
    if candidate["kl"].size < needed:
        return Figure.missing(f"{candidate['kl'].size} tokens are too few for p99: it needs {needed}", "nats")
    return st.quantile_interval(candidate["kl"], 0.99, candidate["window"]).figure("nats", least=0.0)


def share(hits: NDArray[np.float64], windows: NDArray[np.float64]) -> Figure:
    """Return a share of tokens.

    The interval is over windows; if all tokens hit or none, the windows do not vary, and Wilson's interval is used.
    """
    interval = st.clustered_mean(hits, windows)
    if interval.value in (0.0, 1.0) and interval.n > 1:
        wilson = st.share_interval(int(hits.sum()), hits.size)
        interval = st.Interval(interval.value, wilson.low, wilson.high, interval.n)
    return interval.figure("share", least=0.0, most=1.0)


def kept_ratio(
    candidate: NDArray[np.float64],
    reference: NDArray[np.float64],
    clusters: NDArray[np.float64],
    otherwise: str,
) -> Figure:
    """Return sum(candidate) / sum(reference), paired by cluster.

    It is missing with the reason `otherwise` if all of `reference` is 0.
    """
    if not reference.any():
        return Figure.missing(f"{otherwise}: there is nothing to keep", "ratio")
    interval = st.clustered_ratio(candidate, reference, clusters)
    if interval.n > 1 and (candidate == reference).all():
        # No difference among n does not prove that there is none; up to this share may differ (Clopper-Pearson).
        most = (1 - 0.025 ** (1 / candidate.size)) * candidate.size / float(reference.sum())
        interval = st.Interval(1.0, 1 - most, 1 + most, interval.n)
    return interval.figure("ratio", least=0.0)


def _exponential(interval: st.Interval) -> Figure:
    ends = (interval.value, interval.low, interval.high)
    if max(end for end in ends if end is not None) > 700:
        return Figure.missing(f"the mean loss of {interval.value:.0f} nats has no finite exponential")
    value, low, high = (None if end is None else math.exp(end) for end in ends)
    return Figure(value, low, high, interval.n)


def _bits(candidate: Columns) -> Figure:
    if not candidate["bytes"].any():
        return Figure.missing("the scored tokens cover no byte of text", "bits/byte")
    return st.clustered_ratio(candidate["nll"] / math.log(2), candidate["bytes"], candidate["window"]).figure(
        "bits/byte", least=0.0
    )


def _task_figures(reference_dir: Path, score_dir: Path) -> dict[str, Figure]:
    """Return the figures of multiple choice by log-likelihood: Wilson's interval on the share, the ratio by item."""
    import numpy as np

    paths = reference_dir / "task.npz", score_dir / "task.npz"
    if not paths[0].exists() or not paths[1].exists():
        reason = "no --task was given"
        return {
            "task_accuracy": Figure.missing(reason, "share"),
            "task_accuracy_kept": Figure.missing(reason, "ratio"),
        }
    reference, candidate = (_correct(_load(path)) for path in paths)
    items = np.arange(candidate.size, dtype=np.float64)
    return {
        "task_accuracy": st.share_interval(int(candidate.sum()), candidate.size).figure("share"),
        "task_accuracy_kept": kept_ratio(
            candidate, reference, items, "the original answers no item correctly"
        ),
    }


def _correct(task: dict[str, Any]) -> NDArray[np.float64]:
    correct: NDArray[np.float64] = (task["picked"] == task["answer"]).astype(float)
    return correct
