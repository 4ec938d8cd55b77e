"""Start-up time: `edgehone --help` and `import edgehone` against a bare interpreter."""

from __future__ import annotations

import sys

from benchmarks.row import Row, medians

TIMES = 20


def main() -> list[Row]:
    """Return median wall-clock seconds of 20 runs, the three commands alternately."""
    bare, imported, helped = medians(
        [
            [sys.executable, "-c", "pass"],
            [sys.executable, "-c", "import edgehone"],
            [sys.executable, "-m", "edgehone.cli.main", "--help"],
        ],
        TIMES,
    )
    return [
        Row("edgehone --help", helped, "s", 0.2, f"python -c pass: {bare:.3f} s, {helped / bare:.1f}×"),
        Row("import edgehone", imported, "s", 0.1, f"python -c pass: {bare:.3f} s, {imported / bare:.1f}×"),
    ]
