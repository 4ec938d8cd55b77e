"""False alarms, delays and cost of the watch for drift: `make bench-drift`.

Simulated requests to a language model (benchmarks/drifting/streams.py), a reference of 2,000 requests for each
stream. river's ADWIN and alibi-detect's online detector watch the same kind of streams, each in an environment of
its own below .venv/. Goals: at most alpha of 1,000 clean streams of 10,000 requests raise an alarm; half or less of
ADWIN's false alarms at equal delay for shifts of 0.5 standard deviations; 20 µs a request; 5 MB. Returns 1 if one
is missed. --write puts the tables into docs/monitoring.md. alibi-detect's environment takes 800 MB: it is used with
--alibi only.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.drifting import graph, ours, streams

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "monitoring.md"
_BEGIN, _END = "<!-- make bench-drift -->", "<!-- end of make bench-drift -->"
ALPHA = 0.01
_COUNT = 10_000
_GOAL_US, _GOAL_BYTES = 20.0, 5_000_000
_PEERS = {
    "adwin": ("river==0.26.1",),
    # The last release with an open-source licence (Apache 2.0).
    # It names no upper bound of SciPy, but needs one of before 1.12.
    "alibi": ("alibi-detect==0.11.4", "numba==0.57.1", "numpy==1.24.4", "scipy==1.11.4"),
}
_DELTAS = (0.5, 0.1, 0.02, 0.002, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-12, 1e-20, 1e-40, 1e-80)
# ADWIN has no tolerance, so it is compared with a watch that has none either; and with the shipped one.
_TOLERANCES = (0.0, 0.03)
_USUAL = "0.002"
_CHANGED = 30


def main() -> int:
    """Measure and print; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=1000, help="clean streams of each kind (default: 1000)")
    parser.add_argument(
        "--single", type=int, default=300, help="clean streams of single values (default: 300)"
    )
    parser.add_argument("--write", action="store_true", help="write the tables into docs/monitoring.md")
    parser.add_argument("--alibi", action="store_true", help="compare with alibi-detect, too (800 MB)")
    given = parser.parse_args()
    parts: list[str] = []
    missed = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for part in (
            costs,
            partial(clean, pool, given.runs),
            partial(changes, pool),
            partial(values, pool, given.single),
        ):
            start = time.monotonic()
            text, fails = part()
            print(f"{text}\n({time.monotonic() - start:.0f} s)\n", flush=True)
            parts.append(text)
            missed += fails
    if given.alibi:
        parts.append(alibi())
        print(parts[-1])
    if given.write:
        write("\n\n".join(parts))
    return int(missed > 0)


def costs() -> tuple[str, int]:
    """Return the cost of a whole watch and of a served graph's two, and how many goals are missed."""
    found = ours.cost(6400)
    # Other programs on the machine only add time.
    served = graph.cost(6400)
    late = (found["us_least"] > _GOAL_US) + (served["us_least"] > _GOAL_US)
    large = found["reference_bytes"] + found["state_bytes"] > _GOAL_BYTES
    return (
        f"Cost of a watch of {found['values']} values: {found['us_least']:.1f} µs of processor time a request (goal "
        f"{_GOAL_US:g}; fastest of 9 runs, median {found['us_median']:.1f}). Reference "
        f"{found['reference_bytes'] / 1e3:.0f} kB, state {found['state_bytes'] / 1e3:.0f} kB as JSON (goal "
        f"{_GOAL_BYTES / 1e6:g} MB), written in {found['state_ms']:.0f} ms.\n\n"
        f"Cost of a graph's two watches together, of {served['values']} values, with describing its inputs, "
        f"{ours.TOGETHER} requests at a time: {served['us_least']:.1f} µs a request (goal {_GOAL_US:g}; median "
        f"{served['us_median']:.1f}; with other data in the caches before each {ours.TOGETHER} requests "
        f"{served['us_cold']:.1f})."
    ), late + large


def clean(pool: ProcessPoolExecutor, runs: int) -> tuple[str, int]:
    """Return the false alarms of the whole watch and of ADWIN on the same values, and how many goals are missed."""
    rows, missed = [], 0
    for family in ("independent", "sessions", "daily"):
        number = runs if family == "independent" else max(runs // 5, 10)
        found = list(pool.map(partial(ours.clean, family=family, count=_COUNT), range(number)))
        alarms = sum(one.delay is not None for one in found)
        missed += alarms > ALPHA * number
        delay = _delay(pool, family)
        few = max(number // 5, 10)
        theirs = peer(
            "adwin", function="whole", family=family, deltas=_DELTAS, runs=few, count=_COUNT, at=ours.AT
        )
        row = (
            f"| {family} | {alarms} of {number} | {delay:g} | {_rival(theirs, equal(theirs, delay), few)} | "
        )
        rows.append(_said(f"{row}{_rival(theirs, _USUAL, few)} |"))
    return _table(
        f"False alarms in clean streams of {_COUNT:,} requests (alpha {ALPHA:g}), and median delay for prompts "
        f"longer by 0.5 standard deviations: the whole watch, and ADWIN on {len(streams.VALUES)} of the same values",
        "requests | edgehone | delay | ADWIN at this delay | ADWIN, default",
        rows,
    ), missed


def changes(pool: ProcessPoolExecutor) -> tuple[str, int]:
    """Return the delay of each kind of change, and how many kinds are not always found."""
    rows, missed = [], 0
    for kind in streams.CHANGES:
        found = list(pool.map(partial(ours.changed, kind=kind, count=20_000), range(_CHANGED)))
        right = sorted(
            (one for one in found if one.delay is not None and one.delay > 0), key=lambda one: one.delay or 0
        )
        missed += len(right) < len(found)
        if not right:
            rows.append(_said(f"| {kind} | 0 of {len(found)} | – | – | – | – |"))
            continue
        firsts = [one.first for one in right]
        delays = f"{median(one.delay or 0 for one in right):g} ({right[-1].delay})"
        off = median(abs((one.since or 0) - (one.delay or 0)) for one in right)
        row = f"| {kind} | {len(right)} of {len(found)} | {delays} | {off:g} | "
        rows.append(_said(f"{row}{max(set(firsts), key=firsts.count)} | {right[len(right) // 2].words} |"))
    return _table(
        f"Changes after {ours.AT:,} requests: median (and largest) delay in requests, median error of the estimated "
        "beginning, and what the detector that alarms first says",
        "change | found | delay | error | detector | words",
        rows,
    ), missed


def values(pool: ProcessPoolExecutor, runs: int) -> tuple[str, int]:
    """Return false alarms at equal delay for single values, and how many comparisons miss the goal."""
    rows, missed = [], 0
    for family in ("normal", "log-normal", "failures", "sessions"):
        theirs = peer(
            "adwin", function="single", family=family, deltas=_DELTAS, runs=runs, count=_COUNT, at=ours.AT
        )
        for tolerance in _TOLERANCES:
            watch = partial(ours.one_value, family=family, tolerance=tolerance)
            late = pool.map(partial(watch, count=4 * ours.AT, shift_at=ours.AT), range(10**6, 10**6 + 100))
            delay = median(one - ours.AT for one in late)
            few = runs if tolerance == 0 else max(runs // 5, 10)
            alarms = sum(
                one < math.inf for one in pool.map(partial(watch, count=_COUNT, shift_at=None), range(few))
            )
            delta = equal(theirs, delay)
            missed += tolerance == 0 and 2 * alarms > theirs["false"][delta]
            row = f"| {family} | {tolerance:g} | {alarms} of {few} | {delay:g} | {_rival(theirs, delta, runs)} | "
            rows.append(_said(f"{row}{_rival(theirs, _USUAL, runs)} |"))
    return _table(
        "The same for one value only, with and without a tolerance (ADWIN has none); failures: 10 % to 25 %",
        "values | tolerance | edgehone | delay | ADWIN at this delay | ADWIN, default",
        rows,
    ), missed


def _rival(theirs: dict[str, Any], delta: str, runs: int) -> str:
    return f"{theirs['false'][delta]} of {runs} (δ {delta}, delay {theirs['delays'][delta]:g})"


def _said(row: str) -> str:
    """Print a row as soon as it is known: all of them take a quarter of an hour and more."""
    print(row, file=sys.stderr, flush=True)
    return row


def _table(title: str, columns: str, rows: list[str]) -> str:
    return "\n".join((f"{title}.", "", f"| {columns} |", "| --- " * (columns.count("|") + 1) + "|", *rows))


def equal(theirs: dict[str, Any], delay: float) -> str:
    """Return ADWIN's most cautious δ whose delay is not longer, or else its fastest."""
    fitting: list[str] = [one for one in theirs["delays"] if theirs["delays"][one] <= delay]
    return min(fitting or theirs["delays"], key=float if fitting else lambda one: -float(one))


def alibi() -> str:
    """Return what alibi-detect's online Cramér-von Mises detector does on normal values."""
    # Its thresholds are quantiles of 1 - 1 / ERT, which need more bootstraps than ERT.
    task = {"runs": 20, "references": 2, "size": 500, "ert": 10_000, "bootstraps": 12_000}
    found = peer("alibi", **task, count=_COUNT, at=ours.AT)
    return (
        f"alibi-detect 0.11.4, CVMDriftOnline with an expected run length of {found['ert']:,}: {found['false']} of 20 "
        f"clean streams of {_COUNT:,} normal values raise an alarm; median delay for 0.5 standard deviations "
        f"{found['delay']:g}. It controls the mean time between false alarms, so that one is certain in the long run."
    )


def peer(name: str, **task: Any) -> dict[str, Any]:
    """Run a task in a peer's environment, which is made when it is missing."""
    folder = ROOT / ".venv" / f"peer-{name}"
    python = folder / "bin" / "python"
    if not python.exists():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "-q", "-p", sys.executable, folder], check=True)
        subprocess.run(
            [uv, "pip", "install", "-q", "-p", python, "--only-binary", ":all:", *_PEERS[name]], check=True
        )
    script = ROOT / "benchmarks" / "drifting" / f"{name}.py"
    done = subprocess.run(
        [python, script], input=json.dumps(task), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout))


def _delay(pool: ProcessPoolExecutor, family: str) -> float:
    watch = partial(ours.changed, kind=next(iter(streams.CHANGES)), count=8000, family=family)
    found = pool.map(watch, range(10**6, 10**6 + 40))
    return median(math.inf if one.delay is None else one.delay for one in found)


def write(text: str) -> None:
    """Put the tables between their marks in the page."""
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    PAGE.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
