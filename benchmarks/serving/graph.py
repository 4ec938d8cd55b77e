"""What the server adds to a request to a graph: binary tensors over a connection that is kept alive."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import edgehone
from benchmarks.serving.service import service_of
from edgehone.serve.infer.served import ServedGraph, read_graph
from edgehone.serve.load.client import Client
from edgehone.serve.load.started import server
from edgehone.serve.served import Limits

ROUNDS, REQUESTS = 9, 200
MOST_ADDED_MS = 0.3


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
        client = Client(started.port)
        for number in range(ROUNDS + 1):
            answers = [
                await client.post(f"/v2/models/{path.name}/infer", body, headers) for _ in range(REQUESTS)
            ]
            assert {answer.status for answer in answers} == {200}
            own = float((await channel.ask({"count": REQUESTS}, 60))["seconds"])
            if number:
                served.append(statistics.median(answer.seconds for answer in answers))
                alone.append(own)
        client.close()
    return served, alone


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
