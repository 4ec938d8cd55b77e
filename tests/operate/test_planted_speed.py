"""A slow disk and a wrong number of threads, planted around a real engine: noticed, named, remedied or escalated."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.operate.groups import group_of, tree
from tests.operate.operated import Traffic, change, operating, served
from tests.operate.test_planted import TIMES, baseline, named, quiet, short, untouched
from tests.serve.conftest import bundle_of
from tests.serve.server import Server, running
from tests.serve.test_change import key_file

__all__ = ["bundle_of", "key_file"]  # fixtures
pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.alone]


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on a disk: those of the other tests are in memory."""
    return tmp_path_factory.mktemp("disk")


def device_of(folder: Path) -> str:
    """Return the numbers of the device of a folder, as control groups name it."""
    device = folder.stat().st_dev
    if not os.major(device):
        pytest.skip(f"{folder} is on no disk")
    return f"{os.major(device)}:{os.minor(device)}"


def slow(group: Path, folder: Path, what: str, limit: int) -> None:
    """Let the device of a folder do no more for the processes of a group; 0: as much as it can."""
    try:
        (group / f"blkio.throttle.{what}").write_text(f"{device_of(folder)} {limit}")
    except OSError as error:
        pytest.skip(f"the disk of {folder} cannot be made slow: {error.strerror}")


def test_a_disk_to_which_writes_are_slow(
    bundle_of: Callable[[str], Path], key_file: Path, tmp_path: Path
) -> None:
    """The disk takes one write a second of the server: its state is written late, and no request waits for it."""
    bundle, state = bundle_of("llamacpp"), tmp_path / "state"
    words = ("--admin-key-file", str(key_file), "--state", str(state))
    with running(bundle, *words) as server, group_of(server, "blkio") as group:
        first = served(server)["bundle"]
        with (
            Traffic(server, short, per_second=5.0).flowing(2) as traffic,
            operating(
                server, key_file, tmp_path / "operate", *baseline(bundle, tmp_path), times=TIMES
            ) as run,
        ):
            run.wait_for("begins", 30)
            time.sleep(8)
            quiet(run)
            try:
                slow(group, tmp_path, "write_iops_device", 1)
                noticed = run.wait_for("noticed", 90, lambda one: one.detail["alert"] == "disk_slow")
                named(run, "writes wait for the disk")
                untouched(run, server, first, traffic)
            finally:
                slow(group, tmp_path, "write_iops_device", 0)
            run.wait_for("closed", 120, lambda one: one.incident == noticed.incident)
            untouched(run, server, first, traffic)


# ---- weights that do not stay in memory ----

_PROCESS_MADVISE, _PAGEOUT = 440, 21


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@contextmanager
def evicted(server: Server) -> Iterator[None]:
    """Let the kernel take the mapped weights of the engine from memory, again and again, as if others needed it."""
    ended = threading.Event()

    def evict() -> None:
        while not ended.wait(0.2):
            for process in tree(server):
                page_out(process.pid)

    thread = threading.Thread(target=evict)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def page_out(process: int) -> bool:
    """Take the pages of weights from memory that a process maps. Returns whether the kernel does it."""
    done = False
    try:
        lines = Path(f"/proc/{process}/maps").read_text().splitlines()
        descriptor = os.pidfd_open(process)
    except OSError:
        return False  # it has ended
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        for line in lines:
            if line.endswith(".gguf"):
                begin, end = (int(one, 16) for one in line.split()[0].split("-"))
                one = _Vector(begin, end - begin)
                done |= libc.syscall(_PROCESS_MADVISE, descriptor, ctypes.byref(one), 1, _PAGEOUT, 0) > 0
    finally:
        os.close(descriptor)
    return done


def test_a_disk_from_which_weights_are_read_again(
    bundle_of: Callable[[str], Path], key_file: Path, tmp_path: Path
) -> None:
    """The weights do not stay in memory, and the disk gives 20 MB a second of them."""
    bundle = bundle_of("llamacpp")
    with running(bundle, "--admin-key-file", str(key_file)) as server, group_of(server, "blkio") as group:
        os.sync()  # pages that are not on the disk yet cannot be given up
        if not any(page_out(one.pid) for one in tree(server)):
            pytest.skip(
                "this kernel or user cannot take pages of another process from memory (process_madvise)"
            )
        words = baseline(bundle, tmp_path, {"served_p50_s": 0.15, "served_p95_s": 0.3})
        with (
            Traffic(server, short, per_second=4.0).flowing(2) as traffic,
            operating(server, key_file, tmp_path / "operate", *words, times=TIMES) as run,
        ):
            run.wait_for("begins", 30)
            slow(group, tmp_path, "read_bps_device", 20 << 20)
            with evicted(server):
                run.wait_for("diagnosed", 180, lambda one: "read from the disk again" in one.says)
                kept = run.wait_for("kept", 240)
                assert kept.detail["remedy"] == "keep the weights in memory"
                assert served(server)["bundle"]["settings"]["load"] == "mlock"
                done = [one.name for one in run.remedies() if one.state == "kept"]
                assert done == ["keep the weights in memory"]
        assert {*traffic.statuses} <= {200, 429}


# ---- threads ----


def read(number: int) -> dict[str, Any]:
    """Prompts that begin differently, so that each is computed anew: that takes threads."""
    prompt = "The people of the United States have a right to a free press and to assemble. " * 20
    return {"model": "bundle", "prompt": f"{number % 997} {prompt}", "max_tokens": 2}


def usual(server: Server) -> float:
    """Return the median time of some requests that come one at a time."""
    seconds = list[float]()
    for number in range(30):
        begun = time.monotonic()
        assert server.post("/v1/completions", read(number)).status_code == 200
        seconds.append(time.monotonic() - begun)
    return sorted(seconds)[15]


def on_one_processor(server: Server) -> None:
    """Let a server and what it started use one processor only, as where the others are given to another program."""
    for process in (server.process.pid, *(one.pid for one in tree(server))):
        for thread in Path(f"/proc/{process}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {min(os.sched_getaffinity(0))})


@pytest.mark.parametrize("planted", ["too few", "too many"])
def test_a_wrong_number_of_threads(
    bundle_of: Callable[[str], Path], key_file: Path, tmp_path: Path, planted: str
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one processor")
    bundle = bundle_of("llamacpp")
    with running(bundle, "--admin-key-file", str(key_file)) as server:
        proven = served(server)["bundle"]["threads"]
        normal = usual(server)
        words = baseline(bundle, tmp_path, {"served_p50_s": normal, "served_p95_s": normal})
        with (
            Traffic(server, read, per_second=3.0).flowing(1) as traffic,
            operating(server, key_file, tmp_path / "operate", *words, times=TIMES) as run,
        ):
            run.wait_for("begins", 30)
            if planted == "too few":
                change(server, settings={"threads": 1})
                cause, right = "fewer threads than proven", proven
            else:
                on_one_processor(server)
                cause, right = "more threads than proven", 1
            run.wait_for("noticed", 120, lambda one: "latency" in one.detail["alert"])
            diagnosed = run.wait_for("diagnosed", 120, lambda one: "threads" in one.says)
            assert cause in [one["name"] for one in diagnosed.detail["causes"]]
            begun = run.wait_for("begun", 120)
            assert begun.detail["remedy"] == "the proven number of threads"
            # Other programs may take the second processor: then it does not help, and is undone.
            ended = run.wait_for_any(("kept", "undone") if planted == "too few" else ("kept",), 300)
            assert ended.detail["remedy"] == "the proven number of threads"
            if ended.kind == "kept":
                assert served(server)["bundle"]["threads"] == right
                assert [one.name for one in run.remedies()] == ["the proven number of threads"]
        assert {*traffic.statuses} <= {200}
