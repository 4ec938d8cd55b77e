"""Scrape a server at fixed times, and yield its state, whether it answers or not."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from edgehone.core.errors import EdgehoneError
from edgehone.monitor.alert import Alert
from edgehone.monitor.evaluate import Evaluator, Firing, urgency
from edgehone.monitor.live.view import (
    AlertView,
    View,
    attacks_between,
    machine_of,
    models_between,
    reading_in,
)
from edgehone.monitor.server import Access, models_in, scrape, state_of
from edgehone.serve.history.figures import Reading

# The time that rates and quantiles are about: long enough for some requests, short enough to see a change.
_WINDOW_SECONDS = 60.0


@dataclass(frozen=True)
class Watched:
    """A server, how it is asked, and the alerts that are evaluated."""

    url: str
    access: Access
    alerts: Sequence[Alert]


class Watch:
    """The scrapes of the last minute."""

    def __init__(
        self,
        watched: Watched,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._watched, self._monotonic, self._wall = watched, monotonic, wall
        self._evaluator = Evaluator(watched.alerts)
        self._readings: deque[Reading] = deque()
        self._last = View(watched.url, wall())

    def look(self) -> View:
        """Scrape once. For a server that does not answer the view has the reason; nothing is raised."""
        at = self._monotonic()
        try:
            text, problem = scrape(self._watched.url, access=self._watched.access), None
            problems = state_of(self._watched.url, self._watched.access).get("problems")
            reading = reading_in(text, at) if models_in(text) else None
        except (EdgehoneError, ValueError) as error:
            text, problem, problems, reading = None, str(error), None, None
        if reading is None:
            self._evaluator.add(at, None)
            self._last = self._unreachable(
                problem or "/metrics has no edgehone_ready: it is no `edgehone serve`"
            )
        else:
            self._evaluator.add(at, text)
            self._last = self._seen(reading, problems if isinstance(problems, dict) else {})
        return self._last

    def _seen(self, now: Reading, problems: dict[str, str]) -> View:
        while self._readings and now.at - self._readings[0].at > _WINDOW_SECONDS:
            self._readings.popleft()
        before = self._readings[0] if self._readings else None
        self._readings.append(now)
        return View(
            url=self._watched.url,
            at=self._wall(),
            over_s=round(now.at - before.at, 3) if before else None,
            models=models_between(before, now, problems),
            machine=machine_of(now),
            attacks_per_min=attacks_between(before, now),
            alerts=self._alerts(now.at),
        )

    def _unreachable(self, problem: str) -> View:
        self._readings.clear()  # what it did meanwhile would count as done in the last minute
        at = self._wall()
        since = self._last.unreachable_since
        return replace(
            self._last,
            at=at,
            over_s=None,
            unreachable_since=at if since is None else since,
            problem=problem,
            alerts=self._alerts(self._monotonic()),
        )

    def _alerts(self, at: float) -> tuple[AlertView, ...]:
        found = [*self._evaluator.firing(), *self._evaluator.pending()]
        return tuple(_alert(one, at) for one in sorted(found, key=urgency))


def views(watch: Watch, interval: float, sleep: Callable[[float], None] = time.sleep) -> Iterator[View]:
    """Yield a view at fixed times, for ever. Those that were missed, as a scrape took longer, are left out."""
    due = time.monotonic()
    while True:
        yield watch.look()
        due = max(due + interval, time.monotonic())
        sleep(max(0.0, due - time.monotonic()))


def _alert(one: Firing, at: float) -> AlertView:
    alert = one.alert
    return AlertView(
        alert.name,
        alert.severity,
        one.labels,
        one.figure,
        alert.limit,
        alert.unit,
        max(0.0, at - one.since),
        one.pending,
        one.says,
        one.do,
    )
