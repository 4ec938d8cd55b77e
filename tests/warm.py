"""Warm worker processes: jobs of real tests run in forks of a process that has imported the framework.

Importing a framework takes 3 to 15 seconds of processor time, most jobs on the tests' tiny models less than one.
Only how a job's process starts differs: job.json, the function, result.json, the log and the ways to fail are the
same. Jobs that measure (`exclusive`) start cold, as do conformance and the tests that ask what a process has loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgehone.execution.command import environment_variables
from edgehone.execution.job import Job
from edgehone.execution.source_digest import package_path

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
}  # fmt: skip
HERE = Path(__file__).parent


class Servers:
    """One warm process for each environment and number of threads, started when the first job asks for it."""

    def __init__(self) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="edgehone-warm-")
        # XDG_CACHE_HOME of the processes that import.
        self.caches = Path(self._place.name) / "caches"
        self._lock = threading.Lock()
        self._started: dict[tuple[str, int], subprocess.Popen[bytes]] = {}

    def socket(self, job: Job) -> Path:
        """The socket of the server that forks for this job, which listens."""
        key = (job.env.name, job.threads)
        path = Path(self._place.name) / f"{job.env.name}-{job.threads}"
        with self._lock:
            if key not in self._started:
                self._started[key] = self._start(job, path)
            while not path.exists():
                if self._started[key].poll() is not None:
                    raise RuntimeError(
                        f"the warm process of {key} ended: {path.with_suffix('.log').read_text()}"
                    )
                time.sleep(0.05)
        return path

    def _start(self, job: Job, path: Path) -> subprocess.Popen[bytes]:
        words = [str(job.env.python), "-I", str(HERE / "warmserver.py"), str(path)]
        with path.with_suffix(".log").open("wb") as log:
            return subprocess.Popen(
                [*words, json.dumps(IMPORTS[job.env.name])],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._place.name,
                env={**environment_variables(job, alone=job.exclusive), "XDG_CACHE_HOME": str(self.caches)},
                start_new_session=True,
            )

    def close(self) -> None:
        """End them all."""
        for process in self._started.values():
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
        self._place.cleanup()


@contextmanager
def servers() -> Iterator[Servers]:
    """Servers that end with the block."""
    found = Servers()
    try:
        yield found
    finally:
        found.close()


def command(job: Job, folder: Path, cold: list[str], warm: Servers) -> list[str]:
    """The command line of a job's child: `cold` for jobs that measure or have no framework, else the client's."""
    placeholder = not folder.is_absolute()  # for reproduce.sh, which is for people
    if job.exclusive or job.online or placeholder or job.env.name not in IMPORTS:
        return cold
    words = [sys.executable, "-I", "-S", str(HERE / "warmclient.py"), str(warm.socket(job))]
    return [*words, str(package_path("edgehone") / "execution" / "bootstrap.py"), cold[-1]]
