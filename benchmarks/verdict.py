"""Optimize the demo model again and again, idle and under bursts of other programs: is the choice the same?

    python -m benchmarks.verdict [--runs 20] [--loads 0,25,50] [--series NAME] [--write]

Builds and scores are shared; the benchmark rounds are measured anew in every run. The loads alternate, so that a slow
hour of the machine affects all alike. A fixed probe (benchmarks/probe.py) reads the speed of the processors before and
after each run, since a shared host changes it.

The runs of one machine and day are a series, a file in benchmarks/verdict_runs/; an interrupted benchmark goes on with
the next run. What the idle runs of a series give together, their pooled value, is the truth that its others are
compared with:
- the choice of a run must be that of most idle runs, or not over 5 % slower than it by the pooled latencies;
- a gate that passes by the pooled figures must not fail (it may be undecided);
- the 95 % intervals of latency and speedup must cover the pooled value in 18 of 20 runs; of fewer runs, which a slow
  hour of the machine moves more, the upper 95 % limit of the share counts. No interval of latency can cover the value
  of a host at another speed, so for latency the runs count whose probes are within 10 % of their median.
The shares are those of the runs of all series together. --write puts the table into docs/evidence.md.
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.busy import busy
from benchmarks.probe import speed_probe
from edgehone.evaluation.statistics import t_quantile
from edgehone.execution.home import home

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evidence.md"
RUNS = ROOT / "benchmarks" / "verdict_runs"
BACKENDS = "llamacpp,openvino,olive"
NEAR, COVERED, SAME = 1.05, 0.9, 0.95
STEADY = 0.1  # deviation of the speed probes from their median within which the host has its usual speed
ENOUGH = 20  # runs, which are judged without a margin
LATENCY = "workload_latency_ms"
FIGURES = (LATENCY, "speedup")


def main(words: Sequence[str]) -> int:
    """Run the benchmark. Return 1 if a share is below its goal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--runs", type=int, default=20, help="runs under each load, of all series together (default: 20)"
    )
    parser.add_argument("--loads", default="0,25,50", help="per cent of every processor (default: 0,25,50)")
    parser.add_argument(
        "--series",
        default=time.strftime("%Y-%m-%d"),
        help="series that the runs belong to (default: the date)",
    )
    parser.add_argument("--results", type=Path, default=RUNS, help="folder of the series")
    parser.add_argument("--write", action="store_true", help="write the table into docs/evidence.md")
    given = parser.parse_args(words)
    loads = [int(load) for load in given.loads.split(",")]
    all_series = read_series(given.results)
    own = all_series.setdefault(given.series, [])
    for number, load in ((number, load) for number in range(given.runs) for load in loads):
        if sum(run["load"] == load for series in all_series.values() for run in series) > number:
            continue
        if not own:
            one_run(0, 0)  # builds and scores everything; not counted
        last = one_run(load, number)
        own.append(last)
        keep(given.results / f"{given.series}.json", own)
        probes = ", ".join(f"{probe:.2f}" for probe in last["probes"])
        print(
            f"{load} % {number}: {last['chosen']} exit {last['code']}, {last['seconds']:.0f} s, "
            f"probes {probes} ms",
            flush=True,
        )
    measured = [series for series in all_series.values() if series]
    rows = [row(load, measured) for load in loads]
    text = table(rows) + host_speed([run for series in measured for run in series])
    print(text)
    if given.write:
        start, end = "<!-- table of bench-verdict -->\n", "<!-- end of the table -->\n"
        before, rest = PAGE.read_text("utf-8").split(start)
        PAGE.write_text(before + start + text + end + rest.split(end, 1)[1], "utf-8")
    problems = [problem for one in rows for problem in one["problems"]]
    for problem in problems:
        print(f"over: {problem}")
    return 1 if problems else 0


def read_series(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the runs of each series by its name."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


def keep(path: Path, runs: Sequence[Mapping[str, Any]]) -> None:
    """Write the runs of a series, one per line."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("[\n" + ",\n".join(json.dumps(run) for run in runs) + "\n]\n", "utf-8")


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
                name: [rounded(one["figures"][name][end]) for end in ("value", "low", "high")]
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


def rounded(value: float | None) -> float | None:
    """Return a figure with 5 significant digits, more than it has."""
    return None if value is None else float(f"{value:.5g}")


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


def row(load: int, all_series: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Return the shares of a load over the runs of all series, and where they are below their goals."""
    judged = [one for series in all_series for one in judge(load, series)]
    near = sum(one["near"] for one in judged)
    wrong = [pair for one in judged for pair in one["wrong"]]
    shares = {name: [one[name] for one in judged] for name in FIGURES}
    steady = [one[LATENCY] for one in judged if one["steady"]]
    problems = (
        []
        if near >= SAME * len(judged)
        else [f"{load} %: the choice was near in {near} of {len(judged)} runs"]
    )
    problems += [f"{load} %: {key} fails {gate}, which it passes idle" for key, gate in sorted(set(wrong))]
    problems += [
        f"{load} %: the intervals of {name} cover {statistics.fmean(found):.0%}"
        for name, found in {**shares, LATENCY: steady}.items()
        if below(found, COVERED)
    ]
    chosen = Counter(one["chosen"] for one in judged)
    return {
        "load": load,
        "runs": len(judged),
        "chosen": ", ".join(f"{key} ({count})" for key, count in chosen.most_common()),
        "near": near,
        "steady": f"{statistics.fmean(steady):.0%} of {len(steady)}" if steady else "–",
        "wrong": len(wrong),
        **{name: mean(found) for name, found in shares.items()},
        "off": mean([one["off"] for one in judged]),
        "observed": mean([one["observed"] for one in judged]),
        "undecided": sum(one["undecided"] for one in judged),
        "seconds": mean([one["seconds"] for one in judged]),
        "problems": problems,
    }


def judge(load: int, series: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the runs of a load in one series show, compared with its idle runs; nothing without such."""
    idle = [run for run in series if run["load"] == 0]
    if not idle:
        return []
    truth = {name: pooled(series, name) for name in (*FIGURES, "observed_latency_ms")}
    [(usual, _)] = Counter(run["chosen"] for run in idle).most_common(1)
    latency = truth[LATENCY]
    passes = Counter(tuple(pair) for run in idle for pair in run["passed"])
    sure = {pair for pair, count in passes.items() if count > len(idle) / 2}
    at_speed = at_usual_speed(series)
    return [
        {
            "chosen": run["chosen"],
            "near": run["chosen"] == usual or latency.get(run["chosen"], math.inf) <= NEAR * latency[usual],
            "wrong": [pair for pair in map(tuple, run["failed"]) if pair in sure],
            "steady": run in at_speed,
            **{name: covered(run, name, truth[name]) for name in FIGURES},
            "off": off(run, LATENCY, latency),
            "observed": off(run, "observed_latency_ms", truth["observed_latency_ms"]),
            "undecided": run["code"] == 4,
            "seconds": run["seconds"],
        }
        for run in series
        if run["load"] == load
    ]


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 without values."""
    return statistics.fmean(values) if values else 0.0


def below(shares: Sequence[float], goal: float) -> bool:
    """Return True if the mean over the runs is below its goal; of fewer than ENOUGH runs, if its upper limit is."""
    mean = statistics.fmean(shares) if shares else 1.0
    if len(shares) >= ENOUGH:
        return mean < goal
    if len(shares) < 2:
        return False
    width = t_quantile(len(shares) - 1, 0.95) * statistics.stdev(shares) / math.sqrt(len(shares))
    return mean + width < goal


def covered(run: dict[str, Any], name: str, truth: dict[str, float]) -> float:
    """Return the share of the intervals of a run, over its candidates, that contain the pooled value."""
    found = [
        low <= truth[key] <= high
        for key, figures in run["figures"].items()
        for _, low, high in [figures[name]]
        if key in truth and low is not None and not (name == "speedup" and low == high == 1)
    ]
    return float(sum(found) / max(1, len(found)))


def off(run: dict[str, Any], name: str, truth: dict[str, float]) -> float:
    """Return the mean deviation of the candidates' values from the pooled ones, as a share."""
    return mean(
        [
            figures[name][0] / truth[key] - 1
            for key, figures in run["figures"].items()
            if key in truth and figures[name][0]
        ]
    )


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
