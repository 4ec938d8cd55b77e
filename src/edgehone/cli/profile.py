"""Profile a bundle while it answers its workload: processors, clock, memory, latency, operators, and what limits it.

The machine is watched from outside, which costs the bundle nothing that can be felt; operators are timed by the
framework's own profiler in a pass of its own. Bottlenecks are named with the rule, the figure and the threshold.
"""

from __future__ import annotations

import argparse
import json
import sys

EXAMPLE = """examples:
  edgehone profile ./bundle
  edgehone profile ./bundle --duration 20s --concurrency 4 --json
  edgehone profile ./classifier --input images.npz
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder")
    parser.add_argument(
        "--duration", default="60s", metavar="TIME", help="how long it answers (default: 60s)"
    )
    parser.add_argument(
        "--concurrency", type=int, metavar="N", help="so many clients at once (default: as the workload has)"
    )
    parser.add_argument("--input", metavar="NPZ", help="an array for each input of a graph, samples first")
    parser.add_argument("--no-operators", action="store_true", help="leave the pass of operator times out")
    parser.add_argument("--out", metavar="FILE", help="write the profile there too, as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the verb; exit 1 where the bundle failed half-way, after showing what was seen."""
    from pathlib import Path

    from edgehone.optimize.search.clock import seconds_of
    from edgehone.profiling import profile
    from edgehone.profiling.text import profile_text

    made = profile(
        args.bundle,
        seconds=seconds_of(args.duration, "--duration"),
        concurrency=args.concurrency,
        samples_file=args.input,
        operators=not args.no_operators,
        tell=_tell,
    )
    told = json.dumps(made.to_json(), indent=1)
    if args.out:
        Path(args.out).write_text(told + "\n", "utf-8")
    print(told if args.json else profile_text(made))
    if made.error:
        print(f"error: {made.error}", file=sys.stderr)
        if made.log:
            print(f"log:   {made.log}\nnext:  edgehone diagnose {made.log}", file=sys.stderr)
        return 1
    return 0


def _tell(what: str) -> None:
    print(what, file=sys.stderr)
