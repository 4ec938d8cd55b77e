"""How rollouts are decided: `make bench-rollout`.

1,000 simulated releases, 500 good ones and 100 of each of five faults, through the code that decides in the server
(benchmarks/rolling/world.py). Goals: at least 99 % of the bad ones are rolled back, half of them before 5 % of the
requests were answered by them; at most alpha of the good ones are rolled back. Then the tests alone with equal and
different shares of failures, and A/B tests that are looked at after each request. With --real N also releases between
real engines (benchmarks/rolling/real.py); with --releases 0 these alone. Returns 1 if a goal is missed. --write puts
the tables of what was run into docs/rollout.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.rolling.world import KINDS, Kind, Result, simulate
from edgehone.rollout.decision.effect import AbTest
from edgehone.rollout.decision.evidence import Evidence
from edgehone.rollout.decision.rules import shipped

PAGE = Path(__file__).resolve().parents[1] / "docs" / "rollout.md"
_SIMULATED, _REAL = "make bench-rollout", "make bench-rollout, real engines"
_GOAL_FOUND, _GOAL_SHARE = 0.99, 0.05


def main() -> int:
    """Measure and print; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--releases", type=int, default=1000, help="simulated releases (default: 1000)")
    parser.add_argument("--real", type=int, default=0, metavar="N", help="releases between real engines, too")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/rollout.md")
    given = parser.parse_args()
    missed = False
    if given.releases:
        text, missed = _simulated(given.releases)
        _written(_SIMULATED, text, given.write)
    if given.real:
        from benchmarks.rolling.real import real

        text, fails = real(given.real)
        print(text)
        _written(_REAL, text, given.write)
        missed |= bool(fails)
    return int(missed)


def _simulated(releases: int) -> tuple[str, bool]:
    """Return the tables of simulations, and whether a goal is missed."""
    begun = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(_release, *zip(*_wanted(releases), strict=True), chunksize=5))
        parts = [_table(results)]
        print(f"{parts[0]}\n({time.monotonic() - begun:.0f} s)\n", flush=True)
        parts.append(_alone(pool))
        print(f"{parts[-1]}\n", flush=True)
        parts.append(_effects(pool))
        print(f"{parts[-1]}\n", flush=True)
    return "\n\n".join(parts), not meets(results)


def _written(mark: str, text: str, wanted: bool) -> None:
    """Put a text between two marks of the page, if that is wanted."""
    if wanted:
        begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
        before, _, rest = PAGE.read_text("utf-8").partition(begin)
        PAGE.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", "utf-8")


def meets(results: Sequence[Result]) -> bool:
    """Return whether the goals are met."""
    bad = [one for one in results if one.release.kind != "good"]
    good = [one for one in results if one.release.kind == "good"]
    found = sum(one.status == "rolled back" for one in bad)
    false = sum(one.status == "rolled back" for one in good)
    return (
        found >= _GOAL_FOUND * len(bad)
        and false <= shipped().alpha * len(good)
        and median(one.share for one in bad) < _GOAL_SHARE
    )


def _wanted(count: int) -> Iterable[tuple[int, Kind]]:
    for number in range(count):
        yield number, "good" if number % 2 else KINDS[1 + number // 2 % (len(KINDS) - 1)]


def _release(number: int, kind: Kind) -> Result:
    return simulate(number, kind, shipped())


def _table(results: Sequence[Result]) -> str:
    rows = [
        "| release | rolled back | promoted | undecided | found as | requests answered by it, median (most) "
        "| after, median |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind in KINDS:
        some = [one for one in results if one.release.kind == kind]
        status = Counter(one.status for one in some)
        back = [one for one in some if one.status == "rolled back"]
        reasons = Counter(one.reason.partition(":")[0] for one in back)
        found = ", ".join(f"{name} {n}" for name, n in reasons.most_common())
        shares = [100 * one.share for one in (back or some)]
        other = len(some) - status["rolled back"] - status["promoted"]
        rows.append(
            f"| {kind} | {status['rolled back']} of {len(some)} | {status['promoted']} | {other} | {found or '–'} "
            f"| {median(shares):.2f} % ({max(shares):.1f} %) | {median(one.seconds for one in (back or some)):.0f} s |"
        )
    return "\n".join(rows)


# The share of failures of champion and challenger, the objective, and whether it is to pass.
_ALONE = (
    (0.01, 0.01, "errors", False), (0.05, 0.05, "errors", False), (0.01, 0.02, "errors", False),
    (0.05, 0.075, "tail", False), (0.01, 0.05, "errors", False), (0.01, 0.20, "errors", False),
    (0.01, 1.0, "errors", False), (0.05, 0.15, "tail", False), (0.01, 0.01, "errors", True),
    (0.01, 0.04, "errors", True),
)  # fmt: skip
_RUNS, _REQUESTS = 400, 4000


def _alone(pool: ProcessPoolExecutor) -> str:
    rows = [
        "| failing: champion, challenger | test | decided | requests to the challenger, median (95 %) |",
        "| --- | --- | --- | --- |",
    ]
    for case in _ALONE:
        found = [one for part in pool.map(_runs, [case] * 8, range(8)) for one in part]
        ends = [one for one in found if one is not None]
        times = f"{median(ends):.0f} ({np.quantile(ends, 0.95):.0f})" if ends else "–"
        champion, challenger, name, passing = case
        rows.append(
            f"| {100 * champion:g} %, {100 * challenger:g} % | {name}: {'not worse' if passing else 'worse'} "
            f"| {len(ends)} of {len(found)} | {times} |"
        )
    return "\n".join(rows)


def _runs(case: tuple[float, float, str, bool], seed: int) -> list[int | None]:
    return [decided(case, np.random.default_rng([seed, number])) for number in range(_RUNS // 8)]


def decided(case: tuple[float, float, str, bool], random: np.random.Generator) -> int | None:
    """Return after how many requests a test decides, each beside four of the champion; None if it does not."""
    champion, challenger, name, passing = case
    rules = shipped()
    at = rules.names.index(name)
    evidence, one = Evidence(rules), rules.objectives[at]
    needs = 1 / ((1 - rules.level_share) * (rules.promote_alpha if passing else one.share * rules.alpha))
    x = np.full(len(rules.names), np.nan)
    for number in range(1, _REQUESTS + 1):
        x[at] = float(random.random() < challenger) - float((random.random(4) < champion).mean())
        evidence.bet(x)
        if (evidence.not_worse if passing else evidence.worse)[at] >= needs:
            return number
    return None


def _effects(pool: ProcessPoolExecutor) -> str:
    rows = [
        "| A/B test of latency, true ratio | effect shown | requests of each version, median "
        "| interval held the truth |",
        "| --- | --- | --- | --- |",
    ]
    for ratio in (1.0, 0.95, 0.9, 0.8):
        found = [one for part in pool.map(_tests, [ratio] * 8, range(8)) for one in part]
        shown = [one[0] for one in found if one[0] is not None]
        when = f"{median(shown):.0f}" if shown else "–"
        held = sum(one[1] for one in found)
        rows.append(f"| {ratio:g} | {len(shown)} of {len(found)} | {when} | {held} of {len(found)} |")
    return "\n".join(rows)


def _tests(ratio: float, seed: int) -> list[tuple[int | None, bool]]:
    return [effect(ratio, np.random.default_rng([seed, number, 7])) for number in range(25)]


def effect(ratio: float, random: np.random.Generator) -> tuple[int | None, bool]:
    """Return after how many requests an effect is shown, and whether the interval always held the truth."""
    rules = shipped().ab
    test = AbTest(rules.scales["latency"], rules.alpha, rules.least_requests)
    truth, shown, held = float(np.log(ratio)), None, True
    times = random.normal(0, 0.5, (5000, 2))
    for number, (champion, challenger) in enumerate(times.tolist(), 1):
        test.add(False, champion)
        test.add(True, challenger + truth)
        found = test.effect
        if found.low is not None and found.high is not None:
            held &= found.low <= truth <= found.high
        if shown is None and test.shown:
            shown = number
    return shown, held


if __name__ == "__main__":
    sys.exit(main())
