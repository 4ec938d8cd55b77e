"""Explain how the candidate of a bundle was chosen, step by step, and why each other candidate lost."""

from __future__ import annotations

import argparse
import json

EXAMPLE = """examples:
  edgehone explain ./bundle
  edgehone explain ./bundle --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from edgehone.bundle import read
    from edgehone.report.explain import explanation, losses, stages, tuning

    decision = read(args.bundle).decision
    if args.json:
        result = {
            "chosen": decision.chosen,
            "fallback": decision.fallback,
            "reason": decision.reason,
            "stages": [stage.to_json() for stage in stages(decision)],
            "tuning": tuning(decision),
            "bound": decision.candidate(decision.bundled).facts.get("bound") if decision.bundled else None,
            "lost": losses(decision),
        }
        print(json.dumps(result, indent=1))
    else:
        print(explanation(decision))
    return 0
