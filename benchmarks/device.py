"""Time of `edgehone device`: with the cached answers of the runtimes, and with `--fresh`."""

from __future__ import annotations

import sys

from benchmarks.row import Row, medians

TIMES = 5


def main() -> list[Row]:
    """Return median wall-clock seconds. The bandwidth is measured beforehand, since it is cached as well."""
    command = [sys.executable, "-m", "edgehone.cli.main", "device"]
    medians([command], 1)
    kept, bare = medians([command, [sys.executable, "-c", "pass"]], TIMES)
    (fresh,) = medians([[*command, "--fresh"]], 1)
    return [
        Row("edgehone device", kept, "s", 2.0, f"python -c pass: {bare:.3f} s, {kept / bare:.1f}×"),
        Row(
            "  asking every runtime",
            fresh,
            "s",
            20.0,
            f"{fresh / kept:.1f}× of the kept answers, once a machine",
        ),
    ]
