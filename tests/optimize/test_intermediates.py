"""What a run lets the store forget: what only other steps read, and the original's logits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgehone.backends.base import Recipe
from edgehone.execution import pruning
from edgehone.execution.store import JobResult
from edgehone.optimize import build
from edgehone.optimize.context import RunContext
from edgehone.optimize.intermediates import discard
from edgehone.optimize.trial import Trial


def stored(home: Path, key: str, *names: str) -> JobResult:
    """A finished job with large files of these names."""
    out = home / "store" / "jobs" / key / "out"
    out.mkdir(parents=True)
    for name in names:
        (out / name).write_bytes(bytes(pruning.BULKY_BYTES))
    return JobResult(key, out.parent, {}, 1.0, False, {}, key)


def test_intermediate_results_and_logits_go_and_artifacts_and_what_they_link_to_stay(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted, hessians, exported = (
        stored(own_home, key, "model") for key in ("converted", "hessians", "exported")
    )
    baseline, quantized = stored(own_home, "baseline"), stored(own_home, "quantized", "model")
    (quantized.out / "part").symlink_to(
        exported.out / "model"
    )  # an artifact that shares a file with a step before it
    reference = stored(own_home, "reference", "logprobs.npy", "tokens.npz")
    trials = [
        Trial(Recipe("some", name, effort="quick", why=""), artifact=artifact)
        for name, artifact in (("exact", converted), ("q4", quantized))
    ]
    steps = {"exact": [], "q4": [converted, hessians, exported], "original": []}
    monkeypatch.setattr(build, "intermediates", lambda ctx, recipe: steps[recipe.name])
    monkeypatch.setattr(pruning.prune, "__defaults__", (0,))
    original: Any = SimpleNamespace(
        baseline=Trial(Recipe("some", "original", effort="quick", why=""), artifact=baseline),
        reference=reference,
    )
    nothing: Any = None
    fields = ("model", "source", "build_executor", "target_executor", "workload", "effort", "backends")
    rest = dict.fromkeys((*fields, "reference_backend", "emit"), nothing)
    discard(RunContext(**rest), original, trials)
    jobs = own_home / "store" / "jobs"
    left = {path.relative_to(jobs).as_posix() for path in jobs.glob("*/out/*")}
    assert left == {
        "converted/out/model",
        "exported/out/model",
        "quantized/out/model",
        "quantized/out/part",
        "reference/out/tokens.npz",
    }
