"""Show the rollouts under way, with the evidence of each objective.

Evidence that the challenger is worse rolls it back when it reaches what it needs; evidence that it is not worse lets
the stage pass when each required objective has reached it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from edgehone.cli.rollout.common import found_rollouts, line

EXAMPLE = """examples:
  edgehone rollout status --to http://127.0.0.1:8080 --admin-key-file operators
  edgehone rollout status demo-model --to http://127.0.0.1:8080 --admin-key-file operators --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="only of this name")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from edgehone.rollout.decision.plan import OPEN

    found = [one for one in found_rollouts(args) if one["status"] in OPEN]
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    for one in found:
        print(line(one))
        _print_figures(one)
    if not found:
        print("no rollout is under way")
    return 0


def _print_figures(told: Mapping[str, Any]) -> None:
    from edgehone.cli.registry.common import columns

    rows = [
        (
            f"  {one['objective']}",
            _share(one["champion"], one["champion_requests"]),
            _share(one["challenger"], one["challenger_requests"]),
            f"{one['worse']:.2g} of {one['worse_needs']:.3g}",
            f"{one['not_worse']:.2g} of {one['not_worse_needs']:.3g}",
        )
        for one in told.get("figures", ())
    ]
    print(columns([("", "champion", "challenger", "worse", "not worse"), *rows]))
    effect = told.get("effect")
    if effect and effect["value"] is not None:
        print(
            f"  effect on {effect['metric']}: {effect['value']:+.4f} ({effect['low']:+.4f} to {effect['high']:+.4f}), "
            f"p {effect['p']:.2g}"
        )


def _share(value: float | None, count: int) -> str:
    return "no data" if value is None else f"{100 * value:.2f} % of {count}"
