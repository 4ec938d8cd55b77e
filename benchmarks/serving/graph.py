"""What the server adds to a request to a graph: binary tensors over a connection that is kept alive."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import edgehone
from benchmarks.serving.service import service_of
from edgehone.core.errors import JobError
from edgehone.serve.infer.served import ServedGraph, read_graph
from edgehone.serve.load.started import server
from edgehone.serve.served import Limits

ROUNDS, REQUESTS = 9, 1000
MOST_ADDED_MS = 0.3
_PART = 1 << 16


async def graphs(bundles: Sequence[Path]) -> tuple[str, list[str]]:
    """Return the table of bundles of graphs, and the goals that are missed."""
    lines, problems = ["| bundle | served, median | alone, median | added |", "| --- | --- | --- | --- |"], []
    for path in bundles:
        served, alone = await _medians(path)
        added = statistics.median(1000 * (one - other) for one, other in zip(served, alone, strict=True))
        if added > MOST_ADDED_MS:
            problems.append(f"{path.name}: {added:.2f} ms are added to a request")
        middle = [1000 * statistics.median(times) for times in (served, alone)]
        lines.append(f"| {path.name} | {middle[0]:.2f} ms | {middle[1]:.2f} ms | {added:.2f} ms |")
    return "\n".join(lines) + "\n", problems


async def _medians(path: Path) -> tuple[list[float], list[float]]:
    """Return the medians of alternating rounds, in seconds, served and alone. The first round warms up."""
    bundle = read_graph(edgehone.read(path), path.name, Limits(), lambda text: print(text, file=sys.stderr))
    body, headers = request(bundle)
    served, alone = [], []
    async with AsyncExitStack() as stack:
        started = await stack.enter_async_context(server(path))
        alone_job = replace(bundle.engine, call="benchmarks.serving.graph_alone:serve")
        channel = await stack.enter_async_context(service_of(alone_job))
        message = _message(f"/v2/models/{path.name}/infer", headers, body)
        for number in range(ROUNDS + 1):
            times = await asyncio.to_thread(_ask, started.port, message)
            own = float((await channel.ask({"count": REQUESTS}, 60))["seconds"])
            if number:
                served.append(statistics.median(times))
                alone.append(own)
    return served, alone


def _message(path: str, headers: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _ask(port: int, message: bytes) -> list[float]:
    """Return the seconds of each request over one connection.

    The client waits in the system's calls, because its own time counts as the server's: an event loop here would add
    0.05 ms.
    """
    times = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(REQUESTS):
            begun = time.perf_counter()
            connection.sendall(message)
            _receive(connection)
            times.append(time.perf_counter() - begun)
    return times


def _receive(connection: socket.socket) -> None:
    """Receive a whole answer. Raises JobError unless its status is 200."""
    data = connection.recv(_PART)
    while b"\r\n\r\n" not in data and (part := connection.recv(_PART)):
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    if length is None or not head.startswith(b"HTTP/1.1 200"):
        raise JobError(f"the server answered {head[:200]!r}")
    left = int(length[1]) - len(body)
    while left > 0:
        left -= len(connection.recv(_PART))


def request(bundle: ServedGraph) -> tuple[bytes, str]:
    """Return the body and the headers of a request with the first canary, whose outputs come as bytes."""
    tensors = bundle.canaries[0].question
    inputs = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "parameters": {"binary_data_size": len(tensor.data)},
        }
        for tensor in tensors
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    body = head + b"".join(bytes(tensor.data) for tensor in tensors)
    return body, f"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {len(head)}\r\n"
