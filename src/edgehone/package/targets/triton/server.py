"""Start Triton on a model repository and ask it for a canary, with nothing but HTTP."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import SetupError
from edgehone.execution.tied import tied_program
from edgehone.serve.infer.tensor import DATATYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

PROGRAM = "tritonserver"
_SECONDS = 120.0


@dataclass(frozen=True)
class Running:
    """A running server: its addresses, as host:port."""

    http: str
    grpc: str


class NoBackendError(SetupError):
    """This Triton was built without the backend that a model needs."""


@contextmanager
def running(repository: Path, log: Path, program: str = PROGRAM) -> Iterator[Running]:
    """Run Triton until the block ends; every model is ready.

    Raises NoBackendError, or SetupError with what Triton printed, if a model cannot be loaded.
    """
    http, grpc, metrics = _free_ports(3)
    command = [
        program,
        f"--model-repository={repository}",
        "--log-verbose=0",
        "--disable-auto-complete-config",
    ]
    for what, port in (("http", http), ("grpc", grpc), ("metrics", metrics)):
        command += [f"--{what}-address=127.0.0.1", f"--{what}-port={port}"]
    with log.open("wb") as out, tied_program(command, stdout=out, stderr=subprocess.STDOUT) as child:
        _wait(child, f"http://127.0.0.1:{http}/v2/health/ready", log)
        yield Running(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}")


def infer(
    server: Running, model: str, question: Arrays, answer: Arrays, scalars: set[str]
) -> dict[str, NDArray[Any]]:
    """Return the outputs for a request, in the shapes of `answer`. `scalars` get a dimension that Triton wants."""
    import numpy as np

    shown = {name: array[..., None] if name in scalars else array for name, array in question.items()}
    inputs = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": DATATYPES[array.dtype.name],
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in shown.items()
    ]
    asked = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    request = urllib.request.Request(
        f"http://{server.http}/v2/models/{model}/infer",
        asked + b"".join(np.ascontiguousarray(array).tobytes() for array in shown.values()),
        {"Inference-Header-Content-Length": str(len(asked)), "Content-Type": "application/octet-stream"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
            body, size = reply.read(), int(reply.headers["Inference-Header-Content-Length"])
    except urllib.error.HTTPError as error:
        raise SetupError(
            f"Triton does not answer the canary: {error.read().decode(errors='replace')[:500]}"
        ) from error
    found, at = {}, size
    for one in json.loads(body[:size])["outputs"]:
        bytes_ = one["parameters"]["binary_data_size"]
        expected = answer[one["name"]]
        found[one["name"]] = np.frombuffer(body[at : at + bytes_], expected.dtype).reshape(expected.shape)
        at += bytes_
    return found


def _wait(child: subprocess.Popen[str], url: str, log: Path) -> None:
    begun = time.monotonic()
    while child.poll() is None and time.monotonic() - begun < _SECONDS:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    said = log.read_text("utf-8", "replace")
    if re.search("unable to find backend library", said, re.IGNORECASE):
        raise NoBackendError("this build of Triton has no backend for the model")
    # A table tells the state of each model, and the cause of those that were not loaded.
    told = re.search(r"UNAVAILABLE: (.*?)\s*\|", said)
    cause = told[1] if told else said.strip().rpartition("\n")[2] or f"no answer within {_SECONDS:.0f} s"
    raise SetupError(f"Triton cannot serve the repository: {cause[:500]}")


def _free_ports(count: int) -> list[int]:
    with (
        closing(socket.socket()) as first,
        closing(socket.socket()) as second,
        closing(socket.socket()) as third,
    ):
        sockets = (first, second, third)[:count]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
