"""Choose again among a bundle's candidates with other weights.

Candidates, figures and verdicts are those of the bundle's decision; only the weights of speed, throughput, quality,
memory and size change. Nothing is built or measured. Exit code 3 if no candidate passes every gate.
"""

from __future__ import annotations

import argparse
import json

EXAMPLE = """examples:
  edgehone choose ./bundle --weights speed=1,quality=20
  edgehone choose ./bundle --weights size=1 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle")
    parser.add_argument(
        "--weights",
        metavar="NAME=N,…",
        required=True,
        help="weights of speed, throughput, quality, memory and size; those left out are 0",
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns 3 if no candidate passes every gate."""
    from edgehone.bundle import read
    from edgehone.decision.aims import weights_of
    from edgehone.decision.choice import choose, contenders
    from edgehone.report.explain import ranking

    weights = weights_of(args.weights)
    decision = read(args.bundle).decision
    # A decision of an earlier version has no verdicts on the original.
    original = [decision.baseline] if decision.baseline.verdicts else []
    choice = choose([*contenders(decision.candidates), *original], weights, decision.baseline)
    if args.json:
        scores = {key: score.to_json() for key, score in choice.scores.items()} if choice else {}
        result = {
            "chosen": choice.key if choice else None,
            "was": decision.chosen,
            "reason": choice.reason if choice else "no candidate passes every gate",
            "weights": weights,
            "scores": scores,
        }
        print(json.dumps(result, indent=1))
        return 0 if choice else 3
    if choice is None:
        print("No candidate passes every gate, whatever the weights.")
        return 3
    print(choice.reason)
    print()
    print("\n".join(ranking(choice, decision)))
    if choice.key != decision.bundled:
        print(f"\nThe bundle contains {decision.bundled}.")
        print(f"Next:   sh {args.bundle}/reproduce.sh --weights {args.weights} --out NEW")
    return 0
