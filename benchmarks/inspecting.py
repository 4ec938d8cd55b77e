"""Time and memory of `inspect` for a checkpoint of 100 GB: runs inspect_100gb.py in a separate process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.row import Row


def main() -> list[Row]:
    """Return the rows for seconds and megabytes."""
    script = Path(__file__).with_name("inspect_100gb.py")
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    found = re.search(r"inspect ([\d.]+) s, peak memory (\d+) MB", said)
    if found is None:
        raise SystemExit(f"{script.name} said something else:\n{said}")
    beside = said.splitlines()[0]
    return [
        Row("inspect of 100 GB", float(found[1]), "s", 1.0, beside),
        Row("its peak memory", float(found[2]), "MB", 200, beside),
    ]
