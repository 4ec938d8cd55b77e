"""The whole `edgehone optimize` on the null backend: its own time beside its jobs', and its own memory.

The memory is read with a model of 1 GB, so that inspecting, hashing and bundling go over it. The null backend's own
table stays small: the rest of the file is a tensor of zeros that nobody loads, stored as a hole.
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
# Runs the command line and then says how much memory this very process ever held; its children do not count.
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
    """Two runs: the default workload for the time, a short one with a large model for the memory."""
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
    # Jobs that ran side by side count once: what is compared is the time in which any job was at work.
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
    """The sum of all jobs' seconds, and when each began and ended."""
    spans = []
    for path in store.glob("*/result.json"):
        seconds = json.loads(path.read_text("utf-8"))["seconds"]
        end = path.stat().st_mtime
        spans.append((end - seconds, end))
    return sum(end - begin for begin, end in spans), spans


def _covered(spans: list[tuple[float, float]]) -> float:
    """Seconds in which at least one job was at work."""
    total, until = 0.0, 0.0
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def _pad(path: Path) -> None:
    """Add a tensor of zeros, as a hole: it is read like any other, and takes no room on the disk."""
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
