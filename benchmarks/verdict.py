"""Optimize the demo model again and again, idle and under bursts of other programs: is the choice the same?

    python -m benchmarks.verdict [--runs 20] [--loads 0,25,50] [--write]

Builds and scores are shared; the benchmark rounds are measured anew in every run. The loads alternate, so that a slow
hour of the machine affects all alike. A fixed probe (benchmarks/probe.py) reads the speed of the processors before and
after each run, since a shared host changes it. What the idle runs give together, their pooled value, is the truth that
the others are compared with:
- the choice of a run must be that of most idle runs, or not over 5 % slower than it by the pooled latencies;
- a gate that passes by the pooled figures must not fail (it may be undecided);
- the 95 % intervals of latency and speedup must cover the pooled value in 18 of 20 runs; of fewer runs, which a slow
  hour of the machine moves more, the upper 95 % limit of the share counts. No interval of latency can cover the value
  of a host at another speed, so for latency the runs count whose probes are within 10 % of their median.
--write puts the table into docs/evidence.md. The results of the runs are kept in verdict.json in
EDGEHONE_HOME/benchmarks, and an interrupted benchmark goes on with the next run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.busy import busy
from benchmarks.probe import speed_probe
from edgehone.evaluation.statistics import t_quantile
from edgehone.execution.home import home

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evidence.md"
BACKENDS = "llamacpp,openvino,olive"
NEAR, COVERED, SAME = 1.05, 0.9, 0.95
STEADY = 0.1  # deviation of the speed probes from their median within which the host has its usual speed
ENOUGH = 20  # runs, which are judged without a margin
LATENCY = "workload_latency_ms"
FIGURES = (LATENCY, "speedup")


def main(words: Sequence[str]) -> int:
    """Run the benchmark. Return 1 if a share is below its goal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="runs under each load (default: 20)")
    parser.add_argument("--loads", default="0,25,50", help="per cent of every processor (default: 0,25,50)")
    parser.add_argument("--fresh", action="store_true", help="forget the results of an interrupted benchmark")
    parser.add_argument("--results", type=Path, help="file of the runs' results (default: in EDGEHONE_HOME)")
    parser.add_argument("--write", action="store_true", help="write the table into docs/evidence.md")
    given = parser.parse_args(words)
    loads = [int(load) for load in given.loads.split(",")]
    stored = given.results or home() / "benchmarks" / "verdict.json"
    stored.parent.mkdir(exist_ok=True)
    if given.fresh:
        stored.unlink(missing_ok=True)
    runs: list[dict[str, Any]] = json.loads(stored.read_text("utf-8")) if stored.exists() else []
    if not runs:
        one_run(0, 0)  # builds and scores everything; not counted
    for number, load in ((number, load) for number in range(given.runs) for load in loads):
        if any((one["load"], one["number"]) == (load, number) for one in runs):
            continue
        last = one_run(load, number)
        runs.append(last)
        stored.write_text(json.dumps(runs), "utf-8")
        probes = ", ".join(f"{probe:.2f}" for probe in last["probes"])
        print(
            f"{load} % {number}: {last['chosen']} exit {last['code']}, {last['seconds']:.0f} s, "
            f"probes {probes} ms",
            flush=True,
        )
    rows = [row(load, runs) for load in loads]
    text = table(rows) + host_speed(runs)
    print(text)
    if given.write:
        start, end = "<!-- table of bench-verdict -->\n", "<!-- end of the table -->\n"
        before, rest = PAGE.read_text("utf-8").split(start)
        PAGE.write_text(before + start + text + end + rest.split(end, 1)[1], "utf-8")
    problems = [problem for one in rows for problem in one["problems"]]
    for problem in problems:
        print(f"over: {problem}")
    return 1 if problems else 0


def at_usual_speed(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs before and after which the processors had their usual speed."""
    if not runs:
        return []
    usual = statistics.median(probe for run in runs for probe in run["probes"])
    return [run for run in runs if all(abs(probe / usual - 1) <= STEADY for probe in run["probes"])]


def one_run(load: int, number: int) -> dict[str, Any]:
    """Optimize the demo model under a load, and return what it found."""
    forget_rounds()
    out = home() / "benchmarks" / "verdict-bundle"
    shutil.rmtree(out, ignore_errors=True)
    model = ROOT / "src" / "edgehone" / "data" / "demo-model"
    command = [
        sys.executable,
        "-m",
        "edgehone.cli.main",
        "optimize",
        str(model),
        "--effort",
        "quick",
        "--json",
    ]
    # The bursts never end, so there is no quiet to wait for.
    busily = ["--when-busy", "measure"] if load else []
    before = speed_probe()
    begun = time.monotonic()
    with busy(load / 100, number):
        done = subprocess.run(
            [*command, *busily, "--backends", BACKENDS, "--out", str(out)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
    if done.returncode not in (0, 3, 4):
        raise SystemExit(f"edgehone ended with {done.returncode}: {done.stderr[-2000:]}")
    seconds = time.monotonic() - begun
    decision = json.loads(done.stdout)
    measured = [one for one in decision["candidates"] if one["status"] == "ok"]
    return {
        "load": load,
        "number": number,
        "seconds": seconds,
        "probes": [before, speed_probe()],
        "code": done.returncode,
        "chosen": decision["chosen"] or decision["fallback"],
        "figures": {
            one["key"]: {
                name: [one["figures"][name][end] for end in ("value", "low", "high")]
                for name in (*FIGURES, "observed_latency_ms")
            }
            for one in [*measured, decision["baseline"]]
        },
        "failed": [
            [one["key"], verdict["gate"]]
            for one in measured
            for verdict in one["verdicts"]
            if not verdict["ok"] and not verdict["undecided"]
        ],
        "passed": [
            [one["key"], verdict["gate"]] for one in measured for verdict in one["verdicts"] if verdict["ok"]
        ],
    }


def forget_rounds() -> None:
    """Remove the benchmark rounds from the store, so that they are measured again."""
    for described in (home() / "store" / "jobs").glob("*/job.json"):
        if "worker.speed:time_requests" in described.read_text("utf-8"):
            shutil.rmtree(described.parent)


def pooled(runs: Sequence[dict[str, Any]], name: str) -> dict[str, float]:
    """Return the median of a figure over the idle runs, by candidate.

    A mean would follow the runs of a slow hour, in which other machines of a shared host take what no counter shows.
    """
    values: dict[str, list[float]] = {}
    for run in runs:
        if run["load"] == 0:
            for key, figures in run["figures"].items():
                if figures[name][0]:
                    values.setdefault(key, []).append(figures[name][0])
    return {key: statistics.median(own) for key, own in values.items()}


def row(load: int, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the shares of a load, and where they are below their goals."""
    mine = [run for run in runs if run["load"] == load]
    idle = [run for run in runs if run["load"] == 0]
    truth = {name: pooled(runs, name) for name in FIGURES}
    [(usual, _)] = Counter(run["chosen"] for run in idle).most_common(1)
    latency = truth["workload_latency_ms"]
    near = sum(
        run["chosen"] == usual or latency.get(run["chosen"], math.inf) <= NEAR * latency[usual]
        for run in mine
    )
    passes = Counter(tuple(pair) for run in idle for pair in run["passed"])
    sure = {pair for pair, count in passes.items() if count > len(idle) / 2}
    wrong = [pair for run in mine for pair in map(tuple, run["failed"]) if pair in sure]
    shares = {name: [covered([run], name, truth[name]) for run in mine] for name in FIGURES}
    share = {name: sum(found) / max(1, len(found)) for name, found in shares.items()}
    steady = [run for run in at_usual_speed(runs) if run["load"] == load]
    judged = {**shares, LATENCY: [covered([run], LATENCY, truth[LATENCY]) for run in steady]}
    problems = (
        [] if near >= SAME * len(mine) else [f"{load} %: the choice was near in {near} of {len(mine)} runs"]
    )
    problems += [f"{load} %: {key} fails {gate}, which it passes idle" for key, gate in sorted(set(wrong))]
    problems += [
        f"{load} %: the intervals of {name} cover {statistics.fmean(found):.0%}"
        for name, found in judged.items()
        if below(found, COVERED)
    ]
    chosen = Counter(run["chosen"] for run in mine)
    return {
        "load": load,
        "runs": len(mine),
        "chosen": ", ".join(f"{key} ({count})" for key, count in chosen.most_common()),
        "near": near,
        "steady": f"{statistics.fmean(judged[LATENCY]):.0%} of {len(steady)}" if steady else "–",
        "wrong": len(wrong),
        **share,
        "off": off(mine, "workload_latency_ms", latency),
        "observed": off(mine, "observed_latency_ms", pooled(runs, "observed_latency_ms")),
        "undecided": sum(run["code"] == 4 for run in mine),
        "seconds": sum(run["seconds"] for run in mine) / max(1, len(mine)),
        "problems": problems,
    }


def below(shares: Sequence[float], goal: float) -> bool:
    """Return True if the mean over the runs is below its goal; of fewer than ENOUGH runs, if its upper limit is."""
    mean = statistics.fmean(shares) if shares else 1.0
    if len(shares) >= ENOUGH:
        return mean < goal
    if len(shares) < 2:
        return False
    width = t_quantile(len(shares) - 1, 0.95) * statistics.stdev(shares) / math.sqrt(len(shares))
    return mean + width < goal


def covered(runs: Sequence[dict[str, Any]], name: str, truth: dict[str, float]) -> float:
    """Return the share of intervals, over candidates and runs, that contain the pooled value."""
    found = [
        low <= truth[key] <= high
        for run in runs
        for key, figures in run["figures"].items()
        for _, low, high in [figures[name]]
        if key in truth and low is not None and not (name == "speedup" and low == high == 1)
    ]
    return float(sum(found) / max(1, len(found)))


def off(runs: Sequence[dict[str, Any]], name: str, truth: dict[str, float]) -> float:
    """Return the mean deviation of the candidates' values from the pooled ones, as a share."""
    found = [
        figures[name][0] / truth[key] - 1
        for run in runs
        for key, figures in run["figures"].items()
        if key in truth and figures[name][0]
    ]
    return float(sum(found) / max(1, len(found)))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    text = (
        "| load | runs | chosen | same, or within 5 % | gates failed wrongly | latency covered "
        "| latency covered, host at its usual speed | speedup covered | "
        "undisturbed off by | observed off by | not decided | seconds |\n" + "| --- " * 12 + "|\n"
    )
    for one in rows:
        cells = (
            f"{one['load']} %", one["runs"], one["chosen"], f"{one['near']} of {one['runs']}", one["wrong"],
            percent(one["workload_latency_ms"]), one["steady"], percent(one["speedup"]), f"{100 * one['off']:+.1f} %",
            f"{100 * one['observed']:+.1f} %", one["undecided"], f"{one['seconds']:.0f}",
        )  # fmt: skip
        text += "| " + " | ".join(map(str, cells)) + " |\n"
    return text


def host_speed(runs: Sequence[dict[str, Any]]) -> str:
    """Return a sentence about the speed of the processors in the runs."""
    probes = [probe for run in runs for probe in run["probes"]]
    return (
        f"\nThe fixed probe before and after each run took {statistics.median(probes):.2f} ms at the median, from "
        f"{min(probes):.2f} to {max(probes):.2f}.\n"
    )


def percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{100 * share:.0f} %"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
