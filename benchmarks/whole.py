"""A whole `edgehone optimize` on the null backend: its own time next to the time of its jobs, and its own memory.

Memory is measured with a model of 1 GB, so that inspecting, hashing and bundling read it. The null backend's own table
stays small: the rest of the file is a sparse tensor of zeros that is never loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.row import Row
from edgehone.backends.null import backend
from edgehone.inputs.texts import shipped

PADDING = 10**9
# Runs the command line and prints the peak memory of this process, without its children.
CHILD = """
import sys
from edgehone.cli.main import main
code = main(sys.argv[1:])
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"):
        print("PEAK", int(line.split()[1]) * 1024)
sys.exit(code)
"""
SETTINGS = """
[gates]
latency_cv = false
speedup = false
[workloads.short]
prompt_tokens = 16
generated_tokens = 8
"""


def main() -> list[Row]:
    """Return the rows of two runs: the default workload for time, and a short one with a large model for memory."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "edgehone.toml").write_text(SETTINGS)
        model = backend.make_model(place / "model", shipped("calibration").read_text("utf-8"))
        rows.append(_overhead(place, model))
        if sys.platform.startswith("linux"):
            _pad(model / "model.safetensors")
            rows.append(_memory(place, model))
    return rows


def _overhead(place: Path, model: Path) -> Row:
    begun = time.perf_counter()
    _optimize(place, model, "chat", [sys.executable, "-m", "edgehone.cli.main"])
    wall = time.perf_counter() - begun
    jobs, spans = _jobs(place / "home" / "store" / "jobs")
    # Overlapping jobs count once: the comparison is with the time during which any job was running.
    beside = f"wall {wall:.1f} s, {len(spans)} jobs: sum {jobs:.1f} s, some side by side, so {_covered(spans):.1f} s"
    return Row("optimize / its jobs' sum", wall / jobs, "×", 1.10, beside)


def _memory(place: Path, model: Path) -> Row:
    begun = time.perf_counter()
    said = _optimize(place, model, "short", [sys.executable, "-c", CHILD])
    wall = time.perf_counter() - begun
    peak = int(next(line for line in said.splitlines() if line.startswith("PEAK")).split()[1])
    size = (model / "model.safetensors").stat().st_size
    return Row("core's peak memory", peak / 1e6, "MB", 300, f"a model of {size / 1e9:.2f} GB, {wall:.1f} s")


def _optimize(place: Path, model: Path, workload: str, program: list[str]) -> str:
    words = ["optimize", str(model), "--workload", workload, "--effort", "quick", "--backends", "null"]
    done = subprocess.run(
        [*program, *words, "--out", f"bundle-{workload}"],
        cwd=place,
        env={**os.environ, "EDGEHONE_HOME": str(place / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"edgehone {' '.join(words)} failed:\n{done.stderr}")
    return done.stdout


def _jobs(store: Path) -> tuple[float, list[tuple[float, float]]]:
    """Return the sum of all jobs' seconds, and the start and end of each."""
    spans = []
    for path in store.glob("*/result.json"):
        seconds = json.loads(path.read_text("utf-8"))["seconds"]
        end = path.stat().st_mtime
        spans.append((end - seconds, end))
    return sum(end - begin for begin, end in spans), spans


def _covered(spans: list[tuple[float, float]]) -> float:
    """Return the seconds during which at least one job was running."""
    total, until = 0.0, 0.0
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def _pad(path: Path) -> None:
    """Add a sparse tensor of zeros: it is read like any other and takes no disk space."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8 : 8 + length])
    data = raw[8 + length :]
    header["padding"] = {
        "dtype": "U8",
        "shape": [PADDING],
        "data_offsets": [len(data), len(data) + PADDING],
    }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    os.truncate(path, 8 + len(text) + len(data) + PADDING)
