"""The Open Inference Protocol v2 over HTTP: health, metadata and POST /v2/models/NAME/infer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.core.distributions import version
from edgehone.serve.http import Refused, Told, heads, read_body, unless_gone
from edgehone.serve.infer.held import Held
from edgehone.serve.infer.lookup import HELD, LIMIT, VERSION, graph_of, metadata, model_of
from edgehone.serve.infer.model import GraphModel
from edgehone.serve.infer.rest import InferRequest, answer, files_of, read_request
from edgehone.serve.model import Model
from edgehone.serve.operations import Operation
from edgehone.serve.watching import Watching

T = TypeVar("T")
# From so many bytes on a conversion takes longer than handing it to a thread.
_MANY = 128 << 10
HEADER = "inference-header-content-length"
# The path under which requests to graphs are recorded, by REST and by gRPC.
INFER = "/v2/models/{name}/infer"


class InferFailure(msgspec.Struct):
    """The body of every answer to a request of the protocol that failed."""

    error: str


class Inference:
    """The routes of the Open Inference Protocol over some models, by name."""

    def __init__(self, models: Mapping[str, Model], watching: Watching) -> None:
        self._models, self._watching, self._held = models, watching, Held(HELD)

    def operations(self) -> list[Operation]:
        """Return the operations; those that describe a model or run it need a key."""
        found = []
        binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            asked = Operation(
                "POST", f"{path}/infer", self.infer, body=InferRequest, failure=InferFailure, contents=binary,
                answers={415: "The body is compressed."},
            )  # fmt: skip
            found += [
                asked,
                Operation("GET", path, self.metadata, failure=InferFailure),
                Operation("GET", f"{path}/ready", self.model_ready, failure=InferFailure),
            ]
        unready = {503: "An engine is not ready."}
        return [
            *found,
            Operation("GET", "/v2", self.server, failure=InferFailure),
            Operation("GET", "/v2/health/live", self.live, guarded=False),
            Operation("GET", "/v2/health/ready", self.ready, guarded=False, answers=unready),
        ]

    async def server(self, request: Request) -> Response:
        """What this server is."""
        return _json(
            {"name": "edgehone", "version": version("edgehone"), "extensions": ["binary_tensor_data"]}
        )

    async def live(self, request: Request) -> Response:
        """The server runs."""
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        """Every model answered a canary."""
        ready = all(model.problem is None for model in self._models.values())
        return _json({"ready": ready}, 200 if ready else 503)

    async def model_ready(self, request: Request) -> Response:
        """The model answered a canary."""
        model = model_of(self._models, *_asked(request))
        ready = model.problem is None
        return _json({"name": model.name, "ready": ready}, 200 if ready else 503)

    async def metadata(self, request: Request) -> Response:
        """The inputs and outputs of a graph."""
        return _json(metadata(self._graph(request)))

    async def infer(self, request: Request) -> Response:
        """Answer with the outputs of a graph."""
        model, record = self._watching.begin(request, self._graph(request), INFER)
        headers = heads(request)
        encoding = headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise Refused(415, f"Content-Encoding is {encoding[:40]!r}: send the body as it is")
        stated = headers.get("content-length", "")
        with self._held.request(int(stated) if stated.isdecimal() else LIMIT):
            body = await read_body(request, LIMIT)
            header = headers.get(HEADER)
            files = await _aside(len(body), files_of, body, header, model.served)
            made = {
                name: await unless_gone(request.receive, model.array(sent)) for name, sent in files.items()
            }
            asked = await _aside(len(body), read_request, body, header, model.served, model.forms, made)
            record.id, record.inputs = asked.number or "", asked.tensors
            found = await unless_gone(request.receive, model.infer(asked.tensors, asked.outputs, record))
        size = sum(len(one.data) for one in found.outputs)
        text, length = await _aside(size, answer, model.name, asked, found.outputs)
        seconds = time.perf_counter() - record.begun
        told = Told(text, b"application/json") if length is None else _binary(text, length)
        told.then(partial(self._watching.metrics.answered, model.name, seconds, found.together))
        return told

    def _graph(self, request: Request) -> GraphModel:
        return graph_of(self._models, *_asked(request))


async def _aside(size: int, function: Callable[..., T], *args: Any) -> T:
    """Return the result of a conversion; of many bytes in a thread, so that other requests are answered meanwhile."""
    return await asyncio.to_thread(function, *args) if size > _MANY else function(*args)


def _binary(body: bytes, length: int) -> Told:
    """Return an answer of which so many bytes are JSON."""
    return Told(body, b"application/octet-stream", [(HEADER.encode(), str(length).encode())])


def _asked(request: Request) -> tuple[str, str]:
    """Return the name and the version in a path."""
    return request.path_params["name"], request.path_params.get("version", VERSION)


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def failure(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error in the form of the Open Inference Protocol."""
    body = msgspec.json.encode(InferFailure(message))
    return Response(body, status, headers=dict(headers or {}), media_type="application/json")
