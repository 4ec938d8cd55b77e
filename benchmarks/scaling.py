"""How time, memory and disk of a run grow with the model: `python -m benchmarks.scaling --sizes 0.1 0.3`.

Llamas of random weights are optimized with llama.cpp at quick effort in an EDGEHONE_HOME of their own (environments and
toolchains are those of the usual one). Measured are seconds, processor seconds and the peak of the memory that the
system cannot free, of the run with all its children, and the bytes on disk; the prediction stands beside them. The last
lines have the exponents of fits by powers of the parameters, of the whole run and of one job of each kind: an effort
promises a time, so a whole run of a larger model tries less in about the same time, and only its jobs grow. With --all
nothing is left out for its time. With --group the run and its children share a control group of so many GiB, in which
they are killed if they need more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import psutil

from benchmarks.memory_group import MemoryGroup, memory_group
from edgehone.execution.home import VARIABLE, home_path

_MAKE = Path(__file__).resolve().parents[1] / "examples" / "make_random_llama.py"
# Billions of parameters -> layers and hidden size.
_SHAPES = {0.1: (15, 768), 0.3: (16, 1280), 1.0: (21, 2048), 3.0: (28, 3072)}
# With the locks, so that two homes never make or remove the same toolchain at once.
_SHARED = ("envs", "toolchains", "compute", "bandwidth", "locks")
_EVERY = 0.1  # seconds between two looks at the memory
_GIB = 1 << 30
_TOLD = 1.0  # processor seconds from which the growth of a kind of job is told


@dataclass(frozen=True)
class Taken:
    """What a run took: seconds, processor seconds, peak bytes of memory and disk, exit code.

    By kind of job: the peaks of memory, and the processor seconds of one job on average.
    """

    seconds: float
    processor: float
    memory: int
    disk: int
    code: int
    jobs: Mapping[str, int]
    each: Mapping[str, float]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", nargs="+", type=float, default=[0.1, 0.3], choices=sorted(_SHAPES))
    parser.add_argument("--backends", default="llamacpp")
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--all", action="store_true", help="try every recipe of the effort")
    parser.add_argument("--group", type=float, help="GiB of the control group that the run is confined to")
    given = parser.parse_args()
    print(f"{os.cpu_count()} processors, {given.backends}, {given.effort}")
    print("| B | predicted min | min | processor min | peak MB | predicted MB | disk MB |")
    _print_fits([(size, _one(size, given)) for size in given.sizes])
    return 0


def _one(size: float, given: argparse.Namespace) -> Taken:
    """Make a model, run it, print its row and its slowest jobs, and return what it took."""
    with tempfile.TemporaryDirectory() as folder, _confined(given.group) as group:
        work = Path(folder)
        model = make(work / "model", size)
        home = home_beside(work / "home")
        (work / "all.toml").write_text(f"[efforts.{given.effort}]\npromise = 0\n", "utf-8")
        options = ["--effort", given.effort, "--backends", given.backends]
        options += ["--config", str(work / "all.toml")] if given.all else []
        predicted = _recommend(model, options, home, group)
        taken = optimize(model, options, home, work / "bundle", group)
        figures = (
            (predicted["seconds"]["value"] or math.nan) / 60,
            taken.seconds / 60,
            taken.processor / 60,
            taken.memory / 1e6,
            predicted["memory_bytes"] / 1e6,
            taken.disk / 1e6,
        )
        print(f"| {size} | " + " | ".join(f"{one:.1f}" for one in figures) + " |", flush=True)
        if group is not None:
            print(f"    exit {taken.code}, {group.killed()} killed, {group.peak() / 1e6:.0f} MB with files")
        for call, most in sorted(taken.jobs.items(), key=lambda one: -one[1])[:8]:
            print(f"    {most / 1e6:7.0f} MB  {call}", flush=True)
        for line in _jobs(home):
            print(f"    {line}", flush=True)
        return taken


@contextlib.contextmanager
def _confined(gib: float | None) -> Iterator[MemoryGroup | None]:
    """Yield a control group, or None without a limit."""
    if gib is None:
        yield None
        return
    with memory_group(int(gib * _GIB)) as group:
        yield group


def make(folder: Path, billions: float) -> Path:
    """Make a Llama of random weights with one of the known numbers of parameters."""
    return make_shape(folder, *_SHAPES[billions])


def make_shape(folder: Path, layers: int, hidden: int) -> Path:
    """Make a Llama of random weights."""
    command = [sys.executable, _MAKE, "--out", folder, "--layers", layers, "--hidden", hidden]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return folder


def home_beside(folder: Path) -> Path:
    """Make a home with the environments of the usual one."""
    folder.mkdir()
    for name in _SHARED:
        (home_path() / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(home_path() / name)
    return folder


def _recommend(
    model: Path, options: Sequence[str], home: Path, group: MemoryGroup | None
) -> Mapping[str, Any]:
    """Return the prediction of the whole run."""
    command = [sys.executable, "-m", "edgehone.cli.main", "recommend", str(model), "--json", *options]
    done = subprocess.run(
        group.around(command) if group else command,
        env={**os.environ, VARIABLE: str(home)},
        check=False,
        capture_output=True,
        text=True,
    )
    run: Mapping[str, Any] = json.loads(done.stdout)["run"]
    return run


def optimize(
    model: Path, options: Sequence[str], home: Path, out: Path, group: MemoryGroup | None = None
) -> Taken:
    """Run `edgehone optimize` and watch it. Its output is in `optimize.log` beside the home.

    Raises SystemExit with the end of the output if it failed.
    """
    command = [sys.executable, "-m", "edgehone.cli.main", "optimize", str(model), "--out", str(out), *options]
    before, begun = _processor(), time.perf_counter()
    with (home.parent / "optimize.log").open("wb") as log:
        process = subprocess.Popen(
            group.around(command) if group else command,
            env={**os.environ, VARIABLE: str(home)},
            stdout=log,
            stderr=log,
        )
        peak = Peak(process.pid)
        code = process.wait()
        peak.end()
    if code not in (0, 3, 4):  # a noise model may fail gates
        raise SystemExit((home.parent / "optimize.log").read_text("utf-8")[-2000:])
    disk = sum(path.stat().st_size for path in (home / "store").rglob("*") if path.is_file())
    return Taken(
        time.perf_counter() - begun, _processor() - before, peak.bytes, disk, code, peak.by_job, peak.each()
    )


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Peak:
    """The largest sum of anonymous and shared memory of a process and its descendants, and that of each kind of job.

    Also the processor seconds of each of the processes, as last seen.
    """

    def __init__(self, pid: int) -> None:
        self.bytes, self.by_job, self._pid, self._over = 0, dict[str, int](), pid, threading.Event()
        self._seconds: dict[tuple[str, int], float] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()

    def each(self) -> dict[str, float]:
        """Return the processor seconds of one process of each kind, on average."""
        kinds = {call for call, _ in self._seconds}
        return {
            kind: mean(took for (call, _), took in self._seconds.items() if call == kind) for kind in kinds
        }

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self._look()

    def _look(self) -> None:
        try:
            first = psutil.Process(self._pid)
            family = [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        by_job: dict[str, int] = {}
        for one in family:
            call = _call_of(one)
            by_job[call] = by_job.get(call, 0) + _unfreeable(one.pid)
            if not call:  # it has ended, and its seconds are known by its name before
                continue
            with contextlib.suppress(psutil.Error):
                times = one.cpu_times()
                self._seconds[call, one.pid] = times.user + times.system
        self.bytes = max(self.bytes, sum(by_job.values()))
        for call, size in by_job.items():
            self.by_job[call] = max(size, self.by_job.get(call, 0))


def _call_of(process: psutil.Process) -> str:
    """Return the function that a worker runs, as the job in its last argument says; the program's name for others."""
    words: list[str] = []
    try:
        words = process.cmdline()
        folder = Path(json.loads(words[-1])["args"][0])
        return str(json.loads((folder / "job.json").read_text("utf-8"))["call"])
    except (OSError, psutil.Error, ValueError, LookupError, TypeError):
        return Path(words[0]).name if words else ""


def _unfreeable(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return 0
    kept = [line.split()[1] for line in status.splitlines() if line.startswith(("RssAnon", "RssShmem"))]
    return sum(map(int, kept)) << 10


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

    def exponent(before: float, after: float) -> str:
        return f"{math.log(after / max(before, 1e-9)) / math.log(large / small):.2f}"

    names = ("seconds", "processor", "memory", "disk")
    words = [f"{name} {exponent(getattr(first, name), getattr(last, name))}" for name in names]
    print(f"exponents from {small} to {large} B: " + ", ".join(words))
    for kind in sorted(first.each.keys() & last.each.keys(), key=lambda one: -last.each[one]):
        if first.each[kind] >= _TOLD:
            took = f"{first.each[kind]:.1f} and {last.each[kind]:.1f} processor seconds"
            print(f"    {kind}: {took}, {exponent(first.each[kind], last.each[kind])}")


if __name__ == "__main__":
    sys.exit(main())
