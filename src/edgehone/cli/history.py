"""Show what was tried: all searches and runs, or every trial of one of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

EXAMPLE = """examples:
  edgehone history
  edgehone history my-model-1f0c9a2b
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="one of them (default: list all)")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.optimize.search import history
    from edgehone.report.summary import table

    if args.name is None:
        kept = history.studies()
        if args.json:
            print(json.dumps([{"name": s.name, **s.about, "trials": len(s.trials)} for s in kept], indent=1))
        elif not kept:
            print("Nothing was tried yet. Next:  edgehone optimize MODEL --time 10m")
        else:
            head = ("", "name", "begun", "trials", "workload")
            rows = [
                (
                    "",
                    s.name,
                    s.about["created"],
                    str(len(s.trials)),
                    s.about.get("workload", {}).get("name", "-"),
                )
                for s in kept
            ]
            print("\n".join(table([head, *rows])))
        return 0
    found = history.study(args.name)
    if args.json:
        print(
            json.dumps({"name": found.name, **found.about, "trials": list(found.trials.values())}, indent=1)
        )
        return 0
    columns = ("", "candidate", "at", "MB", "KL", "latency ms", "")
    print("\n".join(table([columns, *(_row(told) for told in found.trials.values())])))
    return 0


def _row(told: Mapping[str, Any]) -> tuple[str, ...]:
    figures = told["figures"]

    def shown(name: str, form: str, scale: float = 1.0) -> str:
        return f"{figures[name]['value'] * scale:{form}}" if name in figures else "-"

    fate = told["error"] or told["facts"].get("raced_out") or ""
    if told["status"] != "ok":
        fate = f"{told['status']}: {fate}"
    size = f"{told['bytes'] / 1e6:.1f}" if told["bytes"] else "-"
    return (
        "",
        told["key"],
        told["at"],
        size,
        shown("kl_mean", ".2g"),
        shown("workload_latency_ms", ".1f"),
        fate,
    )
