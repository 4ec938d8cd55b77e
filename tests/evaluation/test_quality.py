"""Figures from scored tokens, and the parity check."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.core.errors import EdgehoneError
from edgehone.core.figure import Figure
from edgehone.evaluation import quality
from edgehone.evaluation.tokens import TokenComparison

EQUAL = TokenComparison(Figure(0.0), True)
TOLERANCE = {"kl_mean_max": 1e-3, "same_top_min": 0.98}


def write(folder: Path, windows: int = 8, each: int = 100, **columns: Any) -> Path:
    """A tokens.npz as the scorer writes it."""
    n = windows * each
    generator = np.random.default_rng(4)
    filled = {
        "window": np.repeat(np.arange(windows), each),
        "nll": generator.uniform(0, 3, n),
        "correct": generator.random(n) < 0.6,
        "kl": np.zeros(n),
        "max_error": np.zeros(n),
        "mean_error": np.zeros(n),
        "same_top": np.ones(n, bool),
        "bytes": generator.integers(1, 6, n),
        "argmax": np.zeros(n, np.int32),
    }
    folder.mkdir()
    np.savez(folder / "tokens.npz", **{**filled, **columns})
    return folder


def test_the_original_against_itself(tmp_path: Path) -> None:
    folder = write(tmp_path / "ref")
    got = quality.figures(folder, folder)
    tokens = np.load(folder / "tokens.npz")
    assert got["kl_mean"] == Figure(0.0, 0.0, 0.0, 8, "nats")
    kept = got["accuracy_kept"]
    assert kept.value == 1.0
    assert kept.low is not None
    assert 0.99 < kept.low < 1.0  # none of 800 differed, which does not prove that none would
    assert got["perplexity_ratio"].value == 1.0
    assert got["perplexity"].value == pytest.approx(math.exp(tokens["nll"].mean()))
    assert got["bits_per_byte"].value == pytest.approx(
        tokens["nll"].sum() / math.log(2) / tokens["bytes"].sum()
    )
    # No token differed, which 800 tokens cannot prove to be never.
    assert got["same_top"].value == 1.0
    assert got["same_top"].low is not None
    assert 0.99 < got["same_top"].low < 1.0


def test_a_candidate_is_paired_with_the_original(tmp_path: Path) -> None:
    ref = write(tmp_path / "ref")
    base = np.load(ref / "tokens.npz")
    correct, nll = base["correct"].copy(), base["nll"] + 0.01
    correct[::50] = False
    kl = np.random.default_rng(1).exponential(0.01, correct.size)
    own = write(tmp_path / "own", correct=correct, nll=nll, kl=kl, max_error=10 * kl, mean_error=np.sqrt(kl))
    got = quality.figures(ref, own)
    kept = got["accuracy_kept"]
    assert kept.value == pytest.approx(correct.sum() / base["correct"].sum())
    assert kept.low is not None
    assert kept.high is not None
    share = got["next_token_accuracy"]
    assert share.low is not None
    assert share.high is not None
    assert kept.high - kept.low < share.high - share.low  # what both share cancels
    assert got["perplexity_ratio"].value == pytest.approx(math.exp(0.01))
    assert got["kl_mean"].value == pytest.approx(kl.mean())
    assert got["max_error"].value == pytest.approx(10 * kl.max())
    assert (got["max_error"].low, got["max_error"].n) == (None, 8)  # a largest has no interval
    assert got["mean_error"].value == pytest.approx(np.sqrt(kl).mean())
    assert got["mean_error"].low is not None
    assert got["kl_p99"].value == pytest.approx(np.quantile(kl, 0.99))
    assert {f.n for f in got.values() if f.value is not None} == {8}


def test_too_few_tokens_for_p99(tmp_path: Path) -> None:
    folder = write(tmp_path / "ref", each=80)
    got = quality.figures(folder, folder)["kl_p99"]
    assert got.value is None
    assert got.reason == "640 tokens are too few for p99: it needs 662"


def test_figures_that_cannot_be_computed_are_missing(tmp_path: Path) -> None:
    never = write(tmp_path / "ref", correct=np.zeros(800, bool), bytes=np.zeros(800), nll=np.full(800, 1e4))
    got = quality.figures(never, never)
    assert got["accuracy_kept"].reason == "the original predicts no token correctly: there is nothing to keep"
    assert got["bits_per_byte"].value is None
    assert got["perplexity"].value is None
    assert got["next_token_accuracy"].value == 0.0


def test_one_window_has_no_interval(tmp_path: Path) -> None:
    folder = write(tmp_path / "ref", windows=1, each=800)
    got = quality.figures(folder, folder)
    assert (got["accuracy_kept"].low, got["accuracy_kept"].n) == (None, 1)


def test_other_windows_cannot_be_paired(tmp_path: Path) -> None:
    with pytest.raises(EdgehoneError, match="not scored on the windows"):
        quality.figures(write(tmp_path / "a"), write(tmp_path / "b", windows=4))


def test_task_accuracy(tmp_path: Path) -> None:
    ref, own = write(tmp_path / "ref"), write(tmp_path / "own")
    assert quality.figures(ref, own)["task_accuracy"].reason == "no --task was given"
    answer = np.zeros(20, int)
    np.savez(ref / "task.npz", answer=answer, picked=np.arange(20) >= 16)
    np.savez(own / "task.npz", answer=answer, picked=np.arange(20) >= 12)
    got = quality.figures(ref, own)
    assert (got["task_accuracy"].value, got["task_accuracy"].n) == (0.6, 20)
    assert got["task_accuracy_kept"].value == pytest.approx(12 / 16)
    assert got["task_accuracy_kept"].n == 20


def test_a_few_equal_answers_prove_little(tmp_path: Path) -> None:
    ref = write(tmp_path / "ref")
    np.savez(ref / "task.npz", answer=np.zeros(5, int), picked=np.zeros(5, int))
    kept = quality.figures(ref, ref)["task_accuracy_kept"]
    assert kept.value == 1.0
    assert kept.low is not None
    assert kept.low < 0.6


def figures(kl: float = 1e-5, top: float = 0.995) -> dict[str, Figure]:
    return {"kl_mean": Figure(kl), "same_top": Figure(top)}


def test_parity_check_passes_with_its_figures() -> None:
    got = quality.parity_check(EQUAL, figures(), TOLERANCE)
    assert got.ok
    assert got.reason.startswith("token ids equal; ")
    assert "1e-05" in got.reason


@pytest.mark.parametrize(
    ("tokens", "found", "reason"),
    [
        (TokenComparison(Figure(0.5), False, fault="other ids for 50 %"), figures(), "other ids for 50 %"),
        (EQUAL, figures(kl=2e-3), "diverges by 0.002 nats"),
        (EQUAL, figures(kl=float("nan")), "diverges by nan nats"),
        (EQUAL, figures(top=0.9), "picks 90.0%"),
        (EQUAL, {**figures(), "same_top": Figure.missing("crashed")}, "could not be compared: crashed"),
    ],
)
def test_parity_check_fails_with_its_reason(
    tokens: TokenComparison, found: dict[str, Figure], reason: str
) -> None:
    got = quality.parity_check(tokens, found, TOLERANCE)
    assert not got.ok
    assert reason in got.reason
