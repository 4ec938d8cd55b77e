"""GET /history: figures of the last hours or days as JSON."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.serve.history.query import Asked, read
from edgehone.serve.http import Refused
from edgehone.serve.operations import Operation

# The default query: an hour, in as many points as a plot on a wide screen can show.
_SECONDS, _POINTS = 3600.0, 360
_MOST_POINTS, _MOST_METRICS, _LONGEST = 2160, 64, 100


class History:
    """The route over a file, which may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Several large answers at once would take the processor from the engines.
        self._one = asyncio.Semaphore(1)

    def operations(self) -> list[Operation]:
        """Return the operation."""
        return [Operation("GET", "/history", self.history)]

    async def history(self, request: Request) -> Response:
        """Return figures over time.

        `since` is a Unix time, or negative: so many seconds ago; `metric` may be repeated; `points` is their number.
        """
        now = time.time()
        asked = _asked(request, now)
        async with self._one:
            body = await asyncio.to_thread(self._answer, asked, now)
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    def _answer(self, asked: Asked, now: float) -> bytes:
        empty: dict[str, Any] = {"step": 0.0, "at": [], "series": []}
        try:
            found = read(self._path, asked, now).to_json() if self._path.exists() else empty
            problem = None if self._path.exists() else "nothing was recorded yet"
        except (OSError, sqlite3.Error, ValueError) as error:
            found, problem = empty, f"the history cannot be read: {error}"
        return msgspec.json.encode({"now": now, "since": asked.since, "problem": problem, **found})


def _asked(request: Request, now: float) -> Asked:
    given = request.query_params
    since = _number("since", given.get("since"), -_SECONDS)
    points = _number("points", given.get("points"), _POINTS)
    metrics = given.getlist("metric")
    if not 2 <= points <= _MOST_POINTS:
        raise Refused(400, f"points is {points:g}: give 2 to {_MOST_POINTS}", field="points")
    if len(metrics) > _MOST_METRICS or any(len(one) > _LONGEST for one in metrics):
        raise Refused(
            400, f"metric: give at most {_MOST_METRICS} names of {_LONGEST} characters", field="metric"
        )
    since = now + since if since < 0 else since
    if since >= now:
        raise Refused(400, f"since is {since:g}: that is in the future", field="since")
    return Asked(since, set(metrics) or None, int(points))


def _number(name: str, text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Refused(400, f"{name} is {text[:80]!r}, no number", field=name)
    return value
