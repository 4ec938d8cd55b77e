"""The ASGI application: it finds the operation that a request asks for, and answers.

Starlette's own application calls six layers of functions for each request, which take as long as all else that the
server does for a graph's. Its requests, responses and paths are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from starlette.convertors import Convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from edgehone.core.errors import EdgehoneError
from edgehone.serve.inflight import InFlight
from edgehone.serve.operations import Handler

# Returns the answer to a request that no operation answers: its status, what is wrong and headers.
Failing = Callable[[Request, int, str, Mapping[str, str]], Response]


@dataclass(frozen=True)
class Route:
    """A method and a path, as Starlette writes it, with the function that answers. `tracked`: see `InFlight`."""

    method: str
    path: str
    handler: Handler
    tracked: bool = True


class Application:
    """Answers by routes. The first that fits is taken; one of GET answers HEAD too, without a body."""

    def __init__(
        self,
        routes: Iterable[Route],
        failing: Failing,
        in_flight: InFlight,
        lifespan: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        """`lifespan` is entered when the server starts, and left when it ends."""
        self.routes = tuple(routes)
        self._failing, self._in_flight, self._lifespan = failing, in_flight, lifespan
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: list[tuple[Any, Mapping[str, Convertor[Any]], Route]] = []
        for route in self.routes:
            if "{" not in route.path:
                self._exact.setdefault((route.method, route.path), route)
            else:
                pattern, _, convertors = compile_path(route.path)
                self._patterns.append((pattern, convertors, route))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or start and end with the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        request = Request(scope, receive, send)
        route = self._route(request)
        if route is None:
            await self._unknown(request)(scope, receive, send)
            return
        with self._in_flight.track() if route.tracked else nullcontext():
            try:
                response = await route.handler(request)
            except Exception as error:
                message = f"the server failed: {type(error).__name__}; its log has more"
                await self._failing(request, 500, message, {})(scope, receive, send)
                raise  # into the log
            await response(scope, receive, send)

    def _route(self, request: Request) -> Route | None:
        scope = request.scope
        method, path = scope["method"], scope["path"]
        method = "GET" if method == "HEAD" else method
        if exact := self._exact.get((method, path)):
            return exact
        for pattern, convertors, route in self._patterns:
            if route.method == method and (match := pattern.match(path)):
                found = match.groupdict()
                scope["path_params"] = {
                    name: convertors[name].convert(value) for name, value in found.items()
                }
                return route
        return None

    def _unknown(self, request: Request) -> Response:
        method, path = request.method, request.scope["path"]
        methods = {one for one, exact in self._exact if exact == path}
        methods |= {route.method for pattern, _, route in self._patterns if pattern.match(path)}
        what = f"{method} {path[:80]}: "
        if not methods:
            return self._failing(request, 404, f"{what}Not Found", {})
        allowed = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
        return self._failing(request, 405, f"{what}Method Not Allowed", {"allow": allowed})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        started = False
        try:
            async with self._lifespan():
                started = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except EdgehoneError:
            if started:
                raise
            await send(
                {"type": "lifespan.startup.failed", "message": ""}
            )  # whoever started it knows the reason
            return
        await send({"type": "lifespan.shutdown.complete"})
