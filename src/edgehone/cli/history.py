"""Show the earlier runs, or every trial of one of them."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.optimize.search.history import Study, TrialRecord

EXAMPLE = """examples:
  edgehone history
  edgehone history my-model-1f0c9a2b
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="show this run (default: list all)")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.optimize.search import history
    from edgehone.report.summary import table

    if args.name is None:
        _list(history.studies(), args.json)
        return 0
    study = history.study(args.name)
    if args.json:
        trials = [record.to_json() for record in study.trials.values()]
        print(json.dumps({"name": study.name, **study.about, "trials": trials}, indent=1))
        return 0
    columns = ("", "candidate", "at", "MB", "KL", "latency ms", "")
    print("\n".join(table([columns, *map(_row, study.trials.values())])))
    return 0


def _list(studies: list[Study], as_json: bool) -> None:
    from edgehone.report.summary import table

    if as_json:
        print(json.dumps([{"name": s.name, **s.about, "trials": len(s.trials)} for s in studies], indent=1))
    elif not studies:
        print("Nothing was tried yet. Next:  edgehone optimize MODEL --time 10m")
    else:
        rows = [
            ("", s.name, s.about["created"], str(len(s.trials)), s.about.get("workload", {}).get("name", "-"))
            for s in studies
        ]
        print("\n".join(table([("", "name", "begun", "trials", "workload"), *rows])))


def _row(record: TrialRecord) -> tuple[str, ...]:
    def shown(name: str, form: str) -> str:
        return f"{record.figures[name].value:{form}}" if name in record.figures else "-"

    outcome = record.error or record.facts.get("raced_out") or ""
    if record.status != "ok":
        outcome = f"{record.status}: {outcome}"
    size = f"{record.bytes / 1e6:.1f}" if record.bytes else "-"
    return (
        "",
        record.key,
        record.at,
        size,
        shown("kl_mean", ".2g"),
        shown("workload_latency_ms", ".1f"),
        outcome,
    )
