"""Profile a bundle while it runs its workload, and name its bottlenecks.

Shows processor use, clock, memory, latency and operator times. The process is sampled from outside, which costs it no
measurable time. Operators are timed by the framework's own profiler in a separate pass. Each bottleneck is shown with
its rule, figure and threshold.
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
    """Add the verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle")
    parser.add_argument(
        "--duration", default="60s", metavar="TIME", help="length of the profile (default: 60s)"
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        metavar="N",
        help="number of concurrent clients (default: that of the workload)",
    )
    parser.add_argument(
        "--input", metavar="NPZ", help="for a graph: an array for each input, in the layout of its inputs"
    )
    parser.add_argument("--no-operators", action="store_true", help="skip the pass that times operators")
    parser.add_argument("--out", metavar="FILE", help="also write the profile to this file, as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns 1 if the bundle's process failed, after printing what was measured until then."""
    from pathlib import Path

    from edgehone.optimize.search.clock import seconds_of
    from edgehone.profiling import profile
    from edgehone.profiling.text import profile_text

    result = profile(
        args.bundle,
        seconds=seconds_of(args.duration, "--duration"),
        concurrency=args.concurrency,
        samples_file=args.input,
        operators=not args.no_operators,
        on_progress=_print_progress,
    )
    as_json = json.dumps(result.to_json(), indent=1)
    if args.out:
        Path(args.out).write_text(as_json + "\n", "utf-8")
    print(as_json if args.json else profile_text(result))
    if result.error:
        print(f"error: {result.error}", file=sys.stderr)
        if result.log:
            print(f"log:   {result.log}\nnext:  edgehone diagnose {result.log}", file=sys.stderr)
        return 1
    return 0


def _print_progress(detail: str) -> None:
    print(detail, file=sys.stderr)
