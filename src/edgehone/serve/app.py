"""The web application: routes, keys, errors as JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.core.distributions import version
from edgehone.core.errors import EdgehoneError, InputError, JobError
from edgehone.serve.admission import Full, TooLate
from edgehone.serve.application import Application, Route
from edgehone.serve.dashboard.routes import Dashboard
from edgehone.serve.feedback import FeedbackRoute
from edgehone.serve.history.routes import History
from edgehone.serve.http import ClientGone, Failure, Problem, Refused, Told, heads
from edgehone.serve.infer.embeddings import Embeddings
from edgehone.serve.infer.routes import Inference
from edgehone.serve.infer.routes import failure as infer_failure
from edgehone.serve.inflight import InFlight
from edgehone.serve.keys import check_key
from edgehone.serve.live_models import Models
from edgehone.serve.metrics import CONTENT_TYPE, Metrics
from edgehone.serve.model import Model
from edgehone.serve.openai.routes import OpenAI
from edgehone.serve.operations import Handler, Operation, document
from edgehone.serve.origin import check_origin
from edgehone.serve.page.routes import Page
from edgehone.serve.record import KEY
from edgehone.serve.served import Served
from edgehone.serve.status import status_of
from edgehone.serve.watching import Watching

if TYPE_CHECKING:
    from edgehone.serve.admin import Admin


def build(
    models: Models,
    served: Sequence[Served],
    keys: Sequence[str],
    admin: Admin | None,
    watching: Watching,
    operators: Sequence[Operation] = (),
    *,
    is_local: bool,
    started: Callable[[], Awaitable[None]] | None = None,
) -> Application:
    """Return the application, which starts and ends the models. `started` is awaited before connections are accepted.

    With `keys`, requests for answers need one of them as a bearer token; without, they must not come from the pages of
    other sites. `is_local` says that only this machine can connect. Without `admin`, nothing can be changed.
    `operators` are further operations for those who operate the server, each of which checks its key itself.
    """
    guard = _Guard(keys, watching.metrics, is_local)
    openai = OpenAI(models.by_name, watching, int(time.time()))
    inference = Inference(models.by_name, watching)
    health = _Health(models.by_name, watching)
    embeddings = Embeddings(models.by_name, watching)
    operations = [
        *inference.operations(),  # first: what a graph answers is soon done
        *openai.operations(),
        *embeddings.operations(),
        *FeedbackRoute(watching.recent, watching.observers).operations(),
        *Page(models.by_name).operations(),
        *Dashboard().operations(),
        *History(watching.history).operations(),
        *watching.operations,
        *health.operations(),
    ]
    changes = [*(admin.operations() if admin else ()), *operators]

    routes = [
        *(Route(one.method, one.path, guard.of(one)) for one in operations),
        # A change waits for the requests that run, so it is none of them.
        *(Route(one.method, one.path, guard.answered(one), tracked=False) for one in changes),
        Route("GET", "/openapi.json", _described([*operations, *changes], keys=bool(keys))),
    ]

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        models.start(served)
        try:
            async with watching.running():
                if started:
                    await started()
                yield
        finally:
            await models.end()

    def failing(request: Request, status: int, message: str, headers: Mapping[str, str]) -> Response:
        return failure(request, status, message, headers=headers)

    return Application(routes, failing, models.in_flight, lifespan)


def _described(operations: Sequence[Operation], *, keys: bool) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers with the OpenAPI document of some operations.

    It is made when it is first asked for: that takes as long as a tenth of a server's start.
    """

    @cache
    def made() -> Response:
        return _json(200, document(operations, version("edgehone"), keys=keys))

    async def openapi(request: Request) -> Response:
        return await asyncio.to_thread(made)

    return openapi


def answering(models: Mapping[str, Model], watching: Watching) -> Application:
    """Return an application that answers requests to models which run already: no keys, nothing else.

    For copies of requests whose keys were checked. `watching` is its own, so that copies are not counted as requests.
    """
    guard = _Guard((), watching.metrics, True)
    routes = (Inference(models, watching), OpenAI(models, watching, 0), Embeddings(models, watching))

    def failing(request: Request, status: int, message: str, headers: Mapping[str, str]) -> Response:
        return failure(request, status, message, headers=headers)

    return Application(
        [Route(one.method, one.path, guard.answered(one)) for group in routes for one in group.operations()],
        failing,
        InFlight(),
        nullcontext,
    )


class _Guard:
    """Checks the key of a request, turns errors into answers, and counts both."""

    def __init__(self, keys: Sequence[str], metrics: Metrics, is_local: bool) -> None:
        self._keys, self._metrics, self._is_local = [key.encode() for key in keys], metrics, is_local

    def of(self, operation: Operation) -> Handler:
        """Return the handler of an operation, with a check of the key or the origin before it if it is guarded."""
        if not operation.guarded:
            return operation.handler
        handler = operation.handler

        async def checked(request: Request) -> Response:
            if self._keys:
                check_key(heads(request).get("authorization", ""), self._keys)
            else:
                check_origin(request.method, heads(request), is_local=self._is_local)
            return await handler(request)

        return self.answered(replace(operation, handler=checked))

    def answered(self, operation: Operation) -> Handler:
        """Return the handler of an operation with its errors turned into answers, and its requests counted."""
        handler, path = operation.handler, operation.path

        async def answer(request: Request) -> Response:
            try:
                response = await handler(request)
            except (Refused, Full, TooLate, InputError, JobError, ClientGone) as error:
                response = self._error(request, error)
                self._metrics.refused(error)
            except Exception:
                if record := request.scope.get(KEY):
                    record.answered(500)
                raise
            if isinstance(response, Told):
                response.then(lambda: self._count(request, path, 200))
            else:
                self._count(request, path, response.status_code)
            return response

        return answer

    def _count(self, request: Request, path: str, status: int) -> None:
        self._metrics.counted(path, status)
        if record := request.scope.get(KEY):
            record.answered(status)

    def _error(self, request: Request, error: Exception) -> Response:
        status = status_of(error)
        if isinstance(error, Refused):
            return failure(request, status, error.message, field=error.field, headers=error.headers)
        if isinstance(error, EdgehoneError):
            after = (
                error.retry_after if isinstance(error, Full) else 1 if isinstance(error, JobError) else None
            )
            return failure(
                request, status, error.message, headers={"retry-after": str(after)} if after else None
            )
        return Response(status_code=status)  # the client has left


class _Health:
    """Whether the server and its models are well. Neither asks an engine."""

    def __init__(self, models: Mapping[str, Model], watching: Watching) -> None:
        self._models, self._watching = models, watching

    def operations(self) -> list[Operation]:
        """Return the operations, none of which needs a key."""
        text, unready = "text/plain", {503: "An engine is not ready."}
        return [
            Operation("GET", "/healthz", self.alive, guarded=False),
            Operation("GET", "/readyz", self.ready, guarded=False, answers=unready),
            Operation("GET", "/metrics", self.metrics, guarded=False, media=text),
        ]

    async def alive(self, request: Request) -> Response:
        """The server runs."""
        return _json(200, {"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Every model answered a canary; one that was unloaded did before, and is loaded by the next request."""
        problems = {name: model.problem for name, model in self._models.items()}
        failed = {name: problem for name, problem in problems.items() if problem}
        proofs = {name: str(model.engine.proof) for name, model in self._models.items() if model.engine.proof}
        unloaded = [name for name, model in self._models.items() if model.unloaded]
        body = {
            "status": "not ready" if failed else "ready",
            "problems": failed,
            "proofs": proofs,
            "unloaded": unloaded,
        }
        return _json(503 if failed else 200, body)

    async def metrics(self, request: Request) -> Response:
        """The metrics for Prometheus."""
        await self._watching.now()
        return Response(self._watching.metrics.text(), headers={"content-type": CONTENT_TYPE})


def failure(
    request: Request,
    status: int,
    message: str,
    *,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error in the form of the API that was asked: the Open Inference Protocol, else OpenAI's."""
    if request.scope["path"].startswith("/v2"):
        return infer_failure(status, message, headers)
    kind = {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        429: "rate_limit_error",
    }.get(status, "invalid_request_error" if status < 500 else "server_error")
    return _json(status, Failure(Problem(message, kind, field)), headers)


def _json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(body), status, headers=dict(headers or {}), media_type="application/json"
    )
