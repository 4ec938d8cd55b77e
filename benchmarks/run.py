"""All benchmarks, one table: `make bench`. A figure over its limit is told, and fails nothing.

A benchmark is a file with a `main()` that returns rows. Whatever can be is compared within the same run.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

BENCHMARKS = ("start", "device", "jobs", "inspecting", "frontier", "reporting", "whole", "profiling")


def main() -> None:
    """Run all, or those named; print the table."""
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
