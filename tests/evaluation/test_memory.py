"""Memory: a watch on a real child process, and figures that the system does not report."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.sessions import (
    Generation,
    WorkerJob,
)
from edgehone.device import accelerator_memory
from edgehone.evaluation import memory
from edgehone.worker import memory as worker_memory

MB = 10**6
CHILD = """
import mmap, sys
hoard = bytearray(b"x" * int(sys.argv[2]))
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
touched = sum(mapped[place] for place in range(0, len(mapped), 4096))
print("ready", flush=True)
sys.stdin.read()
"""
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/PID/status")


@on_linux
def test_a_watch_tells_anonymous_from_file_mapped_memory(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(MB) * 100)
    watch = memory.MemoryWatch()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(200 * MB)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stdin is not None
        watch.sample(child.pid)  # a first look at a process that has nothing yet
        assert child.stdout.readline() == b"ready\n"
        watch.sample(child.pid)
        child.stdin.close()
    watch.sample(child.pid)  # gone: no sample, and the peaks stay
    told = watch.result()
    assert told["samples"] == 2
    assert 200 * MB <= told["peaks"]["anonymous"] < 240 * MB
    assert 100 * MB <= told["peaks"]["file"] < 140 * MB


def test_a_watch_of_nothing_has_nothing() -> None:
    watch = memory.MemoryWatch()
    watch.sample(2**22 + 1)  # above the largest process id
    assert watch.result() == {"peaks": {}, "samples": 0}


def test_figures() -> None:
    facts = {"peak": 9 * MB, "runtime": 4 * MB, "pss": 200, "cgroup_peak": 400}
    found = memory.figures(facts, {"peaks": {"anonymous": 100, "file": 50}, "samples": 7})
    assert {name: figure.value for name, figure in found.items()} == {
        "peak_memory_bytes": 9 * MB,
        "runtime_memory_bytes": 4 * MB,
        "added_memory_bytes": 5 * MB,
        "peak_anonymous_bytes": 100,
        "peak_file_mapped_bytes": 50,
        "pss_bytes": 200,
        "cgroup_peak_bytes": 400,
    }
    assert all(figure.unit == "bytes" and figure.low is None for figure in found.values())
    assert found["peak_memory_bytes"].n == 1 and found["peak_anonymous_bytes"].n == 7


def test_a_model_that_adds_less_than_processes_differ_by_counts_as_that() -> None:
    facts = {"peak": 9 * MB, "runtime": 9 * MB - 1, "pss": None, "cgroup_peak": None}
    assert memory.figures(facts, {})["added_memory_bytes"].value == memory.RESOLUTION


def test_figures_that_the_system_does_not_report_are_missing_with_a_reason() -> None:
    found = memory.figures({"peak": None, "runtime": None, "pss": None, "cgroup_peak": None}, {})
    assert len(found) == 7
    for figure in found.values():
        assert figure.value is None and figure.reason and figure.unit == "bytes"


ON_GPU = {"peak": 9 * MB, "runtime": 4 * MB, "pss": 200, "cgroup_peak": 400}


@pytest.mark.parametrize(
    ("worker", "sampled", "used"), [(30 * MB, 20 * MB, 30), (30 * MB, 70 * MB, 70), (None, 70 * MB, 70)]
)
def test_memory_of_an_accelerator_is_part_of_the_peak(worker: int | None, sampled: int, used: int) -> None:
    facts = {**ON_GPU, "accelerator": {"bytes": worker, "sources": []}}
    found = memory.figures(facts, {"peaks": {"accelerator": sampled}, "samples": 7}, "GPU.0")
    assert found[memory.ACCELERATOR].value == used * MB
    assert found["peak_memory_bytes"].value == (9 + used) * MB
    assert found["added_memory_bytes"].value == (5 + used) * MB
    assert found["runtime_memory_bytes"].value == 4 * MB


@pytest.mark.parametrize("sampled", [{}, {"accelerator": 0}])
def test_memory_of_an_accelerator_that_nothing_tells_is_missing_with_the_reason(
    sampled: dict[str, int],
) -> None:
    facts = {**ON_GPU, "accelerator": {"bytes": None, "sources": []}}
    found = memory.figures(facts, {"peaks": sampled, "samples": 7}, "NPU")
    for name in (memory.ACCELERATOR, "peak_memory_bytes", "added_memory_bytes"):
        assert found[name].value is None
        assert "does not include NPU: neither the kernel's fdinfo, nvidia-smi nor the runtime tells" in str(
            found[name].reason
        )


def test_a_watch_keeps_the_peak_of_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([None, 5, 9, 3, None])
    monkeypatch.setattr(memory, "drm_bytes", lambda pid: next(sizes))
    watch = memory.AcceleratorWatch()
    for _ in range(5):
        watch.sample(os.getpid())
    assert watch.result()["peaks"]["accelerator"] == 9


@pytest.mark.parametrize(
    ("driver", "runtime", "told"),
    [
        (None, 7 * MB, {"bytes": 7 * MB, "sources": ["runtime"]}),
        (9 * MB, 7 * MB, {"bytes": 9 * MB, "sources": ["fdinfo"]}),
        (None, None, {"bytes": None, "sources": []}),
        (None, 0, {"bytes": None, "sources": []}),
    ],
)
def test_the_runtime_is_asked_where_the_driver_tells_nothing(
    monkeypatch: pytest.MonkeyPatch, driver: int | None, runtime: int | None, told: dict[str, Any]
) -> None:
    found = {"bytes": driver, "sources": ["fdinfo"] if driver else []}
    monkeypatch.setattr(accelerator_memory, "of_process", lambda pid, before: found)
    session = types.SimpleNamespace(device_bytes=lambda: runtime)
    assert worker_memory._on_accelerator(accelerator_memory.Used(None, None), session) == told
    assert worker_memory._on_accelerator(accelerator_memory.Used(None, None), object()) == found


@on_linux
def test_a_process_knows_its_own_high_water_mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Hungry:
        def generate(self, ids: list[int], count: int, on_token: object = None) -> Generation:
            hoard = bytearray(b"x" * 150 * MB)
            del hoard
            return Generation(time.perf_counter(), [1], [time.perf_counter()])

        def close(self) -> None:
            pass

    started: list[str] = []
    module = types.ModuleType("hungry_backend")
    module.start_runtime = lambda kind, job: started.append(kind)  # type: ignore[attr-defined]
    module.open_session = lambda artifact, settings, job: Hungry()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hungry_backend", module)
    args = {"backend": "hungry_backend", "settings": {}, "prompt": [1], "generated": 1}
    job = WorkerJob(args, {"artifact": tmp_path}, tmp_path, None, 1, lambda fraction, what: None)
    facts: dict[str, Any] = worker_memory.exercise(job)
    assert facts["peak"] > 150 * MB  # though it was given back
    assert started == ["language"] and 0 < facts["runtime"] < facts["peak"] - 140 * MB
    assert facts["pss"] is None or 0 < facts["pss"] < facts["peak"]


def test_a_control_group_with_neighbours_is_not_asked(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/job\n")
    group = tmp_path / "root" / "job"
    group.mkdir(parents=True)
    (group / "memory.peak").write_text("12345\n")
    (group / "cgroup.procs").write_text("7\n")
    assert worker_memory._cgroup_peak(tmp_path / "root", own) == 12345
    (group / "cgroup.procs").write_text("7\n8\n")
    assert worker_memory._cgroup_peak(tmp_path / "root", own) is None
    (group / "memory.peak").unlink()
    assert worker_memory._cgroup_peak(tmp_path / "root", own) is None
    own.write_text("4:memory:/job\n")  # version 1 keeps no such file
    assert worker_memory._cgroup_peak(tmp_path / "root", own) is None
