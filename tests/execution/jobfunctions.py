"""Functions that tests run as jobs."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)


def echo(job: WorkerJob) -> dict[str, Any]:
    """Write an argument to a file and return it."""
    (job.out / "said.txt").write_text(str(job.args["say"]), "utf-8")
    job.progress(0.5, "half way")
    return {"said": job.args["say"], "threads": job.threads, "modules": sorted(sys.modules)}


def raise_error(job: WorkerJob) -> None:
    """Fail with a Python exception."""
    print("a line of the log")
    raise ValueError("the value 7 is wrong")


def die(job: WorkerJob) -> None:
    """Crash as native code does."""
    os.write(2, b"loading model\nGGML_ASSERT(x > 0) failed\n")
    os.abort()


def killed(job: WorkerJob) -> None:
    """End as if the kernel had killed the process because memory ran out."""
    print("allocating 7 GiB", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(job: WorkerJob) -> None:
    """Run for a long time, with a child that does so too."""
    import subprocess

    child = subprocess.Popen(["sleep", "600"])
    (job.out.parent / "pids").write_text(f"{os.getpid()} {child.pid}", "utf-8")
    time.sleep(600)


def report_progress(job: WorkerJob) -> dict[str, Any]:
    """Run for two seconds and report progress continually."""
    for step in range(20):
        job.progress(step / 20, f"step {step}")
        time.sleep(0.1)
    return {"ok": True}


def hoard(job: WorkerJob) -> None:
    """Allocate memory until stopped."""
    blocks: list[bytearray] = []
    while len(blocks) < 64:
        blocks.append(bytearray(os.urandom(1 << 20) * 32))
        time.sleep(0.05)
    time.sleep(60)


def map_a_file(job: WorkerJob) -> dict[str, Any]:
    """Map a file, read all of it, and stay for a few samples of the parent."""
    import mmap

    path = job.out.parent / "mapped"
    with path.open("wb") as file:
        file.truncate(job.args["bytes"])
    with path.open("rb") as model, mmap.mmap(model.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0
        time.sleep(1.5)
    path.unlink()
    return {"ok": True}


def write(job: WorkerJob) -> dict[str, Any]:
    """Write a large and a small file, and note that this ran."""
    (job.out / "large").write_bytes(b"x" * job.args["bytes"])
    (job.out / "small").write_bytes(b"y")
    with Path(job.args["ran"]).open("a", encoding="utf-8") as file:
        file.write("w")
    return {"kept": 1}


def read(job: WorkerJob) -> dict[str, int]:
    """Return the size of the large file of the input."""
    return {"size": (job.inputs["written"] / "large").stat().st_size}


def count(job: WorkerJob) -> int:
    """Append a line to a file, slowly. The number of lines shows how often the function ran."""
    with Path(job.args["file"]).open("a", encoding="utf-8") as file:
        file.write("ran\n")
    time.sleep(0.3)
    return 1


def meet(job: WorkerJob) -> dict[str, float]:
    """Wait until the other job of this folder runs at the same time. Return when this job started and ended."""
    started = time.monotonic()
    folder = Path(job.args["folder"])
    folder.mkdir(exist_ok=True)
    (folder / job.args["name"]).touch()
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() - started > 60:
            raise TimeoutError("the other job did not run at the same time")
        time.sleep(0.01)
    time.sleep(0.1)
    return {"started": started, "ended": time.monotonic()}


def work(job: WorkerJob) -> dict[str, float]:
    """Take a moment. Return when this job started and ended."""
    started = time.monotonic()
    time.sleep(0.1)
    return {"started": started, "ended": time.monotonic()}


def environment(job: WorkerJob) -> dict[str, str]:
    """Return the environment variables of the child."""
    return dict(os.environ)


def link(job: WorkerJob) -> None:
    """Write a link to the input."""
    (job.out / "weights").symlink_to(job.inputs["model"] / "weights")


def hoard_in_a_child(job: WorkerJob) -> None:
    """Let a child allocate memory until stopped."""
    import subprocess

    program = "import os, time; held = os.urandom(1 << 20) * 400; time.sleep(60)"
    subprocess.run([sys.executable, "-c", program], check=True)


def wait_for_channel(job: WorkerJob) -> dict[str, Any]:
    """Wait until the parent closes the channel."""
    with socket.socket(fileno=job.args["channel"]) as channel:
        channel.recv(1)
    return {}
