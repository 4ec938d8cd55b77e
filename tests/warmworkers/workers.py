"""Warm worker processes: jobs of real tests run in forks of a process that has imported the framework.

Importing a framework takes 3 to 15 seconds of processor time, most jobs on the tests' tiny models less than one.
Only how a job's process starts differs: job.json, the function, result.json, the log and the ways to fail are the
same. The memory that is measured then includes what the warm process has imported, so tests that look at it are marked
`cold`, as are those that ask what a process has loaded. Cold start also jobs whose process is watched for something
else, and whole runs that the command line or a remote agent starts.
Linux alone: other systems' frameworks do not bear a fork.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from edgehone.evaluation.memory import AcceleratorWatch, MemoryWatch
from edgehone.execution.command import environment_variables
from edgehone.execution.home import file_lock
from edgehone.execution.job import Job
from edgehone.execution.source_digest import package_path
from edgehone.execution.watch import Watch

_TORCH = [
    "torch",
    "transformers:AutoModelForCausalLM",
    "transformers:AutoModel",
    "transformers:AutoTokenizer",
]
# What the jobs of an environment import, by its name.
IMPORTS = {
    "pytorch": [*_TORCH, "transformers:AutoModelForImageTextToText"],
    "llamacpp": _TORCH,
    "openvino": [
        *_TORCH, "openvino", "openvino_genai", "nncf", "optimum.intel:OVConfig",
        "optimum.exporters.openvino:main_export",
    ],
    "olive": [*_TORCH, "olive.workflows", "onnxruntime_genai.models.builder", "onnxruntime.transformers.float16"],
    "mlx": ["mlx_lm", "mlx_lm.utils", "mlx_lm.generate"],
    "onnxruntime": ["onnxruntime", "onnx"],
    "metrics": ["sklearn.metrics", "jiwer"],
    "null": [
        "numpy", "edgehone.execution.worker_process", "edgehone.worker.prepare", "edgehone.worker.score",
        "edgehone.worker.speed", "edgehone.backends.null.backend",
    ],
}  # fmt: skip
# The only measurement of the null backend that starts warm: its times are computed. Gates of tests compare its memory.
_COMPUTED = "edgehone.worker.speed:time_requests"
# An argument that is a pipe's number, of one that is not handed over (`foreground.open_dialogue`).
_DIALOGUE = "requests"
HERE = Path(__file__).parent


class Servers:
    """One warm process for each environment, started when the first job needs it.

    All processes of a test run that name the same folder share them. They end when the last one has closed.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        # XDG_CACHE_HOME of the processes that import.
        self.caches = folder / "caches"
        self._lock = threading.Lock()
        self._leases: dict[Path, socket.socket] = {}

    def command(self, job: Job, cold: list[str]) -> list[str]:
        """The command line of a job's child: the client's, or `cold` for a job that shall not start warm."""
        if _starts_cold(job) or _server(job) not in IMPORTS or sys.platform != "linux":
            return cold
        client = [sys.executable, "-I", "-S", str(HERE / "client.py"), str(self.listening(job))]
        return [*client, str(package_path("edgehone") / "execution" / "bootstrap.py"), cold[-1]]

    def listening(self, job: Job) -> Path:
        """The socket of the server that forks for this job, which listens."""
        path = self.folder / _server(job)
        with self._lock:
            if path not in self._leases:
                with file_lock(path.with_suffix(".lock")):
                    self._leases[path] = _lease(path) or self._start(job, path)
        return path

    def close(self) -> None:
        """Give up the leases."""
        for lease in self._leases.values():
            lease.close()

    def _start(self, job: Job, path: Path) -> socket.socket:
        path.unlink(missing_ok=True)
        words = [str(job.env.python), "-I", str(HERE / "server.py"), str(path)]
        with path.with_suffix(".log").open("wb") as log:
            process = subprocess.Popen(
                [*words, json.dumps(IMPORTS[_server(job)])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                # Thread pools that read these once have one thread in all jobs. Sessions set the number that they use.
                env={
                    **environment_variables(replace(job, threads=1), alone=False),
                    "XDG_CACHE_HOME": str(self.caches),
                },
                start_new_session=True,
            )
        while (lease := _lease(path)) is None:
            if process.poll() is not None:
                raise RuntimeError(f"a warm process ended: {path.with_suffix('.log').read_text('utf-8')}")
            time.sleep(0.05)
        return lease


def _server(job: Job) -> str:
    """The name of the server for a job. All backends that run in this interpreter share that of the null backend."""
    return "null" if job.env.python == Path(sys.executable) else job.env.name


def _starts_cold(job: Job) -> bool:
    if _DIALOGUE in job.args:
        return True
    if _server(job) == "null":
        return job.exclusive and job.call != _COMPUTED
    return job.watch not in (Watch, MemoryWatch, AcceleratorWatch)


def _lease(path: Path) -> socket.socket | None:
    """A lease of the server at `path`; None where none listens."""
    lease = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        lease.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        lease.close()
        return None
    lease.send(b"{}")
    return lease
