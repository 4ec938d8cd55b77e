"""Functions that the tests run as jobs."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)


def echo(job: WorkerJob) -> dict[str, Any]:
    """Write a file, say what was given."""
    (job.out / "said.txt").write_text(str(job.args["say"]), "utf-8")
    job.progress(0.5, "half way")
    return {"said": job.args["say"], "threads": job.threads, "modules": sorted(sys.modules)}


def raise_error(job: WorkerJob) -> None:
    """Fail as Python code does."""
    print("a line of the log")
    raise ValueError("the value 7 is wrong")


def die(job: WorkerJob) -> None:
    """Fail as native code does."""
    os.write(2, b"loading model\nGGML_ASSERT(x > 0) failed\n")
    os.abort()


def killed(job: WorkerJob) -> None:
    """End as the kernel ends a process for want of memory."""
    print("allocating 7 GiB", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(job: WorkerJob) -> None:
    """Never end, with a child of its own that does not either."""
    import subprocess

    child = subprocess.Popen(["sleep", "600"])
    (job.out.parent / "pids").write_text(f"{os.getpid()} {child.pid}", "utf-8")
    time.sleep(600)


def speak(job: WorkerJob) -> dict[str, Any]:
    """Take two seconds and say so all the time."""
    for step in range(20):
        job.progress(step / 20, f"step {step}")
        time.sleep(0.1)
    return {"ok": True}


def hoard(job: WorkerJob) -> None:
    """Take memory until stopped."""
    held: list[bytearray] = []
    while len(held) < 64:
        held.append(bytearray(os.urandom(1 << 20) * 32))
        time.sleep(0.05)
    time.sleep(60)


def count(job: WorkerJob) -> int:
    """Append a line to a file of the caller's, slowly: shows how often it ran."""
    with Path(job.args["file"]).open("a", encoding="utf-8") as file:
        file.write("ran\n")
    time.sleep(0.3)
    return 1


def meet(job: WorkerJob) -> dict[str, float]:
    """Wait until the other job of this folder runs as well, then end; return when this one began and ended."""
    begun = time.monotonic()
    folder = Path(job.args["folder"])
    folder.mkdir(exist_ok=True)
    (folder / job.args["name"]).touch()
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() - begun > 60:
            raise TimeoutError("the other job did not start meanwhile")
        time.sleep(0.01)
    time.sleep(0.1)
    return {"begun": begun, "ended": time.monotonic()}


def work(job: WorkerJob) -> dict[str, float]:
    """Take a moment; return when it began and ended."""
    begun = time.monotonic()
    time.sleep(0.1)
    return {"begun": begun, "ended": time.monotonic()}


def environment(job: WorkerJob) -> dict[str, str]:
    """The variables that the child sees."""
    return dict(os.environ)


def adopt(job: WorkerJob) -> None:
    """Fill the folder with a link to what it reads."""
    (job.out / "weights").symlink_to(job.inputs["model"] / "weights")


def hoard_in_a_child(job: WorkerJob) -> None:
    """Let a child take memory until stopped."""
    import subprocess

    program = "import os, time; held = os.urandom(1 << 20) * 400; time.sleep(60)"
    subprocess.run([sys.executable, "-c", program], check=True)
