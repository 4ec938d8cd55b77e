"""How time, memory and disk of a run grow with the model: `python -m benchmarks.scaling --sizes 0.1 0.3`.

Llamas of random weights are optimized with llama.cpp at quick effort in an EDGEHONE_HOME of their own (environments and
toolchains are those of the usual one). Measured are seconds, processor seconds and the peak of the memory that the
system cannot free, of the run with all its children, and the bytes on disk; the prediction stands beside them. The last
line has the exponents of fits by powers of the parameters. With --all nothing is left out for its time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edgehone.execution.home import VARIABLE, home_path

_MAKE = Path(__file__).resolve().parents[1] / "examples" / "make_random_llama.py"
# Billions of parameters -> layers and hidden size.
_SHAPES = {0.1: (15, 768), 0.3: (16, 1280), 1.0: (21, 2048), 3.0: (28, 3072)}
_SHARED = ("envs", "toolchains", "compute", "bandwidth")
_EVERY = 0.1  # seconds between two looks at the memory


@dataclass(frozen=True)
class Taken:
    """What a run took: seconds, processor seconds, and peak bytes of memory and of disk."""

    seconds: float
    processor: float
    memory: int
    disk: int


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", nargs="+", type=float, default=[0.1, 0.3], choices=sorted(_SHAPES))
    parser.add_argument("--backends", default="llamacpp")
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--all", action="store_true", help="try every recipe of the effort")
    given = parser.parse_args()
    rows: list[tuple[float, Taken]] = []
    print(f"{os.cpu_count()} processors, {given.backends}, {given.effort}")
    print("| B | predicted min | min | processor min | peak MB | predicted MB | disk MB |")
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            model = _make(work / "model", *_SHAPES[size])
            home = _home(work / "home")
            (work / "all.toml").write_text(f"[efforts.{given.effort}]\npromise = 0\n", "utf-8")
            options = ["--effort", given.effort, "--backends", given.backends]
            options += ["--config", str(work / "all.toml")] if given.all else []
            predicted = _recommend(model, options, home)
            taken = _optimize(model, options, home, work / "bundle")
            rows.append((size, taken))
            figures = (
                (predicted["seconds"]["value"] or math.nan) / 60,
                taken.seconds / 60,
                taken.processor / 60,
                taken.memory / 1e6,
                predicted["memory_bytes"] / 1e6,
                taken.disk / 1e6,
            )
            print(f"| {size} | " + " | ".join(f"{one:.1f}" for one in figures) + " |", flush=True)
            for line in _jobs(home):
                print(f"    {line}", flush=True)
    _print_fits(rows)
    return 0


def _make(folder: Path, layers: int, hidden: int) -> Path:
    command = [sys.executable, _MAKE, "--out", folder, "--layers", layers, "--hidden", hidden]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return folder


def _home(folder: Path) -> Path:
    """Make a home with the environments of the usual one."""
    folder.mkdir()
    for name in _SHARED:
        (home_path() / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(home_path() / name)
    return folder


def _recommend(model: Path, options: Sequence[str], home: Path) -> Mapping[str, Any]:
    """Return the prediction of the whole run."""
    command = [sys.executable, "-m", "edgehone.cli.main", "recommend", str(model), "--json", *options]
    done = subprocess.run(
        command, env={**os.environ, VARIABLE: str(home)}, check=False, capture_output=True, text=True
    )
    run: Mapping[str, Any] = json.loads(done.stdout)["run"]
    return run


def _optimize(model: Path, options: Sequence[str], home: Path, out: Path) -> Taken:
    """Run `edgehone optimize` and watch it."""
    command = [sys.executable, "-m", "edgehone.cli.main", "optimize", str(model), "--out", str(out), *options]
    before, begun = _processor(), time.perf_counter()
    with (home.parent / "optimize.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, VARIABLE: str(home)}, stdout=log, stderr=log)
        peak = _Peak(process.pid)
        code = process.wait()
        peak.end()
    if code not in (0, 3, 4):  # a noise model may fail gates
        raise SystemExit((home.parent / "optimize.log").read_text("utf-8")[-2000:])
    disk = sum(path.stat().st_size for path in (home / "store").rglob("*") if path.is_file())
    return Taken(time.perf_counter() - begun, _processor() - before, peak.bytes, disk)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Peak:
    """The largest sum of anonymous and shared memory of a process and its descendants."""

    def __init__(self, pid: int) -> None:
        self.bytes, self._pid, self._over = 0, pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self.bytes = max(self.bytes, _unfreeable(self._pid))


def _unfreeable(pid: int) -> int:
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for one in processes:
        try:
            status = Path(f"/proc/{one.pid}/status").read_text("utf-8")
        except OSError:
            continue
        kept = [line.split()[1] for line in status.splitlines() if line.startswith(("RssAnon", "RssShmem"))]
        total += sum(map(int, kept)) << 10
    return total


def _jobs(home: Path) -> list[str]:
    """Return the slowest jobs of a run, with their seconds."""
    found = []
    for path in (home / "store" / "jobs").glob("*/result.json"):
        call = json.loads((path.parent / "job.json").read_text("utf-8")).get("call", path.parent.name)
        found.append((float(json.loads(path.read_text("utf-8")).get("seconds") or 0.0), str(call)))
    return [f"{seconds:7.1f} s  {call}" for seconds, call in sorted(found, reverse=True)[:8]]


def _print_fits(rows: Sequence[tuple[float, Taken]]) -> None:
    """Print the exponent of each figure: 1 is linear."""
    if len(rows) < 2:
        return
    (small, first), (large, last) = rows[0], rows[-1]
    words = []
    for name in ("seconds", "processor", "memory", "disk"):
        ratio = getattr(last, name) / max(getattr(first, name), 1e-9)
        words.append(f"{name} {math.log(ratio) / math.log(large / small):.2f}")
    print(f"exponents from {small} to {large} B: " + ", ".join(words))


if __name__ == "__main__":
    sys.exit(main())
