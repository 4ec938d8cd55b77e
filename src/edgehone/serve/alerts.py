"""GET /alerts: the alerts that hold now, by the server's own metrics. The page /dashboard shows them.

Which alerts there are, and whether they hold, is for `edgehone.monitor` to say; who starts the server gives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.serve.history.clock import elapsed
from edgehone.serve.model import Model
from edgehone.serve.operations import Operation
from edgehone.serve.watching import Watching

_EVERY_SECONDS = 10.0
# A server that starts has better things to do.
_FIRST_SECONDS = 2.0


class Board(Protocol):
    """The alerts of some bundles."""

    def add(self, at: float, text: str) -> None:
        """Evaluate them by the text of /metrics at a time, in seconds on a clock that never jumps."""

    def told(self) -> Mapping[str, Any]:
        """Return those that hold, as JSON has them."""


# Makes a board for the folders of bundles by the names under which they are served.
Make = Callable[[Mapping[str, Path]], Board]


class Alerts:
    """Evaluates the alerts of what is served now, every 10 s, in a thread: requests do not wait for it."""

    def __init__(self, models: Mapping[str, Model], watching: Watching, make: Make) -> None:
        self._models, self._watching, self._make = models, watching, make
        self._served: Mapping[str, tuple[Path, str]] = {}
        self._board: Board | None = None

    def operations(self) -> list[Operation]:
        """Return the operation."""
        return [Operation("GET", "/alerts", self.alerts)]

    async def alerts(self, request: Request) -> Response:
        """Return the alerts that hold, and those that are left out with the reasons."""
        found = self._board.told() if self._board else {"alerts": [], "left_out": [], "evaluated": 0}
        return Response(
            msgspec.json.encode(found), media_type="application/json", headers={"cache-control": "no-store"}
        )

    async def run(self) -> None:
        """Evaluate until cancelled."""
        await asyncio.sleep(_FIRST_SECONDS)
        while True:
            await self._watching.now()
            text = self._watching.metrics.text().decode()
            served = {name: (one.served.bundle.path, one.id) for name, one in self._models.items()}
            await asyncio.to_thread(self._add, served, elapsed(), text)
            await asyncio.sleep(_EVERY_SECONDS)

    def _add(self, served: Mapping[str, tuple[Path, str]], at: float, text: str) -> None:
        if self._board is None or served != self._served:  # another bundle has other limits
            self._board, self._served = self._make({name: path for name, (path, _) in served.items()}), served
        self._board.add(at, text)
