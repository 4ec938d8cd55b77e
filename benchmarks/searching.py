"""The search: against the whole grid, against the toolchains' defaults, the frontier, and a memory-bound model.

`make bench-search` runs all; the frontier alone is part of `make bench`. Builds and measurements are stored under
EDGEHONE_HOME/benchmarks, so an interrupted run can be resumed; `--fresh` starts again. Timings on a busy machine are
too high, so each row compares within the run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


import edgehone  # noqa: E402
from benchmarks import frontier  # noqa: E402
from benchmarks.recipes import DEFAULTS, built  # noqa: E402
from benchmarks.row import Row  # noqa: E402
from edgehone.backends.base import Recipe  # noqa: E402
from edgehone.core.events import Event  # noqa: E402
from edgehone.decision import requirements  # noqa: E402
from edgehone.decision.choice import choose, contenders  # noqa: E402
from edgehone.decision.decide import judged_of  # noqa: E402
from edgehone.decision.decision import Decision  # noqa: E402
from edgehone.decision.errors import NothingPasses  # noqa: E402
from edgehone.evaluation.statistics import ratio_of  # noqa: E402
from edgehone.execution.home import home  # noqa: E402
from edgehone.model.demo import demo_model  # noqa: E402
from edgehone.optimize import context  # noqa: E402
from edgehone.optimize.compare import Entry, compare  # noqa: E402

# Gates that a small model cannot pass reliably on a shared machine, where its latency varies between requests.
GATES = ("latency_cv=off",)
# Random weights generate noise, so quality gates are off; only speed is measured.
NOISE = ("accuracy_kept=off", "speedup=off", "memory_cut=off", "latency_cv=off")
SEARCH_SHARE = 0.5


def main() -> None:
    """Run the parts named, or all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--backends", default="llamacpp,openvino,olive")
    parser.add_argument("--fresh", action="store_true", help="do not go on where a run was interrupted")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    place = home() / "benchmarks"
    if given.fresh:
        shutil.rmtree(place, ignore_errors=True)
    place.mkdir(exist_ok=True)
    load = os.getloadavg()[0]
    print(
        f"load {load:.1f} on {os.cpu_count()} processors{': too busy for fair figures' if load > 1 else ''}"
    )
    print(f"{'':28}{'measured':>11}  {'limit':>9}", flush=True)
    for name in given.parts:
        for row in PARTS[name](place, given.backends.split(",")):
            print(row.line(), flush=True)


def grid(place: Path, backends: Sequence[str]) -> Iterator[Row]:
    """Compare the search with a full grid (every recipe built, scored and measured at the same depth), in separate
    stores.
    """
    whole, taken = _timed(place / "grid", {}, backends)
    limit = SEARCH_SHARE * taken
    found, searched = _timed(place / "search", {"effort": "quick", "time": limit}, backends)
    choice = choose(contenders(whole.candidates), whole.requirements["weights"])
    assert choice is not None and found.chosen is not None
    tuned = found.candidate(found.chosen).facts.get("tuned_from")
    winner = str(tuned or found.chosen)
    tied = winner in choice.scores and choice.scores[winner].ties(choice.scores[choice.key])
    yield Row(
        "search / grid, time",
        searched / taken,
        "×",
        SEARCH_SHARE + 0.02,
        f"{searched:.0f} s of {taken:.0f} s",
    )
    verdict = "the same" if winner == choice.key else "within its intervals" if tied else "ANOTHER"
    beside = f"{winner}, the grid's is {choice.key}: {verdict}"
    yield Row("winners beyond the intervals", float(verdict == "ANOTHER"), "", 0.0, beside)


def defaults(place: Path, backends: Sequence[str]) -> Iterator[Row]:
    """Compare the choice with each toolchain's own default, in one run with interleaved rounds."""
    out = place / "chosen"
    if not (out / "manifest.json").is_file():
        edgehone.optimize(demo_model(), time=600, backends=backends, gates=GATES, out=out, emit=_tell)
    bundle = edgehone.read(out)
    recipe = bundle.manifest.recipe
    asked = [
        Entry(Recipe(recipe["backend"], "chosen", settings=recipe["settings"]), bundle.artifact, "chosen")
    ]
    for one in DEFAULTS:
        if one.backend in backends:
            folder = built(one, demo_model(), place / f"default-{one.backend}")
            asked.append(
                Entry(Recipe(one.backend, "default", settings=dict(one.settings or {})), folder, one.shown)
            )
    found = compare(asked, model=demo_model(), effort="quick", emit=_tell)
    required = requirements.load(None, GATES)
    judged = [judged_of(candidate, found.baseline, required) for candidate in found.candidates]
    own, rivals = judged[0], [one for one in judged[1:] if one.passes]
    if not rivals:
        yield Row("choice / best default, latency", 0.0, "×", 1.0, "no default passes the gates")
        return
    best = min(rivals, key=lambda one: one.figure("workload_latency_ms").value or float("inf"))
    ratio = ratio_of(own.figure("workload_latency_ms"), best.figure("workload_latency_ms"), "×")
    assert ratio.value is not None
    said = f"{bundle.decision.chosen} against {best.facts['what']}: {ratio.value:.2f}"
    said += (
        f" ({ratio.low:.2f} to {ratio.high:.2f})" if ratio.low is not None and ratio.high is not None else ""
    )
    # Only a difference beyond the interval counts as slower, so the better end is compared with the limit.
    yield Row("choice / best default, least", ratio.low or ratio.value, "×", 1.0, said)


def bound(place: Path, backends: Sequence[str]) -> Iterator[Row]:
    """Return the share of the memory bandwidth that decoding reaches on a model of a quarter billion random weights."""
    model = place / "random-llama"
    if not (model / "model.safetensors").is_file():
        script, staged = ROOT / "examples" / "make_random_llama.py", model.with_suffix(".partial")
        subprocess.run([sys.executable, str(script), "--out", str(staged)], check=True, capture_output=True)
        staged.rename(model)
    asked: dict[str, Any] = {"effort": "quick", "time": 1200, "workload": "completion"}
    decision = edgehone.optimize(
        model, **asked, backends=backends, gates=NOISE, minimize=["latency"], emit=_tell
    )
    chosen = decision.candidate(str(decision.chosen))
    share = chosen.figure("bandwidth_share")
    said = f"{decision.chosen}: {chosen.facts['bound']}"
    told = "held back by" in said
    yield Row("bandwidth decode leaves", 1 - (share.value or 0.0), "share", 1.0 if told else 0.3, said)


PARTS = {
    "frontier": lambda place, backends: frontier.main(),
    "grid": grid,
    "defaults": defaults,
    "bound": bound,
}


def _timed(place: Path, asked: dict[str, Any], backends: Sequence[str]) -> tuple[Decision, float]:
    """Run optimize with a separate store and shared environments; return its wall-clock seconds over all interrupted
    runs.
    """
    place.mkdir(exist_ok=True)
    for name in ("envs", "toolchains"):
        if not (place / name).exists():
            (place / name).symlink_to(home() / name)
    spent, done = place / "seconds", place / "decision.json"
    before = float(spent.read_text("utf-8")) if spent.is_file() else 0.0
    if done.is_file():
        return Decision.from_json(json.loads(done.read_text("utf-8"))), before
    begun = time.monotonic()
    # The grid is what a thorough run builds, evaluated only as deeply as the search does, without a time limit.
    read = replace(context.effort_settings("quick"), budget=math.inf)
    shallow = mock.patch("edgehone.optimize.context_setup.effort_settings", lambda *_: read)
    try:
        with _home(place), shallow:
            decision = edgehone.optimize(
                demo_model(), **{"effort": "thorough", **asked}, backends=backends, gates=GATES, emit=_tell
            )
    except NothingPasses as error:
        decision = error.decision
    finally:
        spent.write_text(str(before + time.monotonic() - begun), "utf-8")
    done.write_text(json.dumps(decision.to_json()), "utf-8")
    return decision, float(spent.read_text("utf-8"))


@contextmanager
def _home(place: Path) -> Iterator[None]:
    with mock.patch.dict(os.environ, {"EDGEHONE_HOME": str(place)}):
        yield


def _tell(event: Event) -> None:
    """Print one line per state to standard error, as progress."""
    if event.key and event.state in ("building", "done", "failed"):
        print(f"  {event.key} {event.state} {event.detail}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
