"""All benchmarks in one table: `make bench`. A value over its limit is marked and does not fail the run.

A benchmark is a file with a `main()` that returns rows. Values are compared within the same run where possible.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

BENCHMARKS = ("start", "device", "jobs", "inspecting", "frontier", "reporting", "whole", "profiling")


def main() -> None:
    """Run all benchmarks, or those named, and print the table."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    begun = time.perf_counter()
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    print(f"{load}: figures of a busy machine are too high" if os.getloadavg()[0] > 1 else load, flush=True)
    print(f"{'':28}{'measured':>11}  {'limit':>9}", flush=True)
    for name in sys.argv[1:] or BENCHMARKS:
        for row in importlib.import_module(f"benchmarks.{name}").main():
            print(row.line(), flush=True)
    print(f"took {time.perf_counter() - begun:.0f} s, load now {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
