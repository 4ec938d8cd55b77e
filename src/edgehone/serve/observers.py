"""Hand what is seen of each request to those who watch, after the answer, and without ever failing a request.

A request only leaves its record. A moment later the records of all that have ended meanwhile are taken
together: so no answer waits for a watcher, and what can be computed for many at once is.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable

from edgehone.serve.measured.callers import Callers
from edgehone.serve.measured.confidence import fill_classes
from edgehone.serve.observation import Feedback, Observation, Observer, TakesMany
from edgehone.serve.record import Headers, Record

# Seconds after which records are taken: at 100 requests/s 100 together, so that what watches is in the processor's
# caches for all but the first of them.
# How many are taken at a time: then other requests have their turn.
_SECONDS, _SLICE = 1.0, 64
# Records that wait at most, and bytes of inputs that are held for them. With more, all are taken at once.
_MOST, _MOST_BYTES = 4096, 1 << 20


class Observers:
    """Those who watch, in the order in which they were added. One that raises is counted, and said once."""

    def __init__(self, say: Callable[[str], None], callers: Callers, confidence_every: int = 0) -> None:
        """The confidence of one in `confidence_every` answers of language models is asked for (0: of none)."""
        self._say, self.callers = say, callers
        self._every, self._number = confidence_every, itertools.count()
        self._observers: list[Observer] = []
        self._alone: list[Observer] = []  # those who take one request at a time
        self._many: list[TakesMany] = []  # those who take all that wait
        self._waiting: list[Record] = []
        self._held = 0  # bytes of their inputs
        self._timer: asyncio.Handle | None = None
        self.errors: Counter[str] = Counter()  # by the name of the observer's class

    def add(self, observer: Observer) -> None:
        """Tell this one too, of all requests from now on."""
        self._observers.append(observer)
        if isinstance(observer, TakesMany):
            self._many.append(observer)
        else:
            self._alone.append(observer)

    def begin(self, model: str, path: str, headers: Headers) -> Record:
        """Return the record of a request to a model that was just found."""
        sampled = self._every > 0 and next(self._number) % self._every == 0
        return Record(model, path, headers, self._ended, sampled=sampled)

    def observe(self, seen: Observation) -> None:
        """Tell all of a request."""
        self._tell((one, one.observe, seen) for one in self._observers)

    def feedback(self, seen: Feedback) -> None:
        """Tell all what a client says of an answer."""
        self._tell((one, one.feedback, seen) for one in self._observers)

    def flush(self) -> None:
        """Take all records now, before what was observed is read."""
        while self._waiting:
            self._take()

    def _ended(self, record: Record) -> None:
        self._waiting.append(record)
        self._held += sum(len(one.data) for one in record.inputs)
        if len(self._waiting) > _MOST or self._held > _MOST_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._due)

    def _due(self) -> None:
        self._timer = None
        self._take()
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_soon(self._due)

    def _take(self) -> None:
        taken, self._waiting = self._waiting[:_SLICE], self._waiting[_SLICE:]
        self._held = self._held if self._waiting else 0
        try:
            fill_classes(taken)
        except Exception as error:  # noqa: BLE001 - what a graph puts out must not end the server's loop
            self._failed("confidence", error)
        seen = [record.observation(*self.callers.of(record.headers)) for record in taken]
        for one in seen:
            self._tell((other, other.observe, one) for other in self._alone)
        self._tell((other, other.observe_all, seen) for other in self._many)

    def _tell(self, calls: Iterable[tuple[object, Callable[..., None], object]]) -> None:
        for observer, call, seen in calls:
            try:
                call(seen)
            except Exception as error:  # noqa: BLE001 - a watcher that fails must not harm what it watches
                self._failed(type(observer).__name__, error)

    def _failed(self, name: str, error: Exception) -> None:
        self.errors[name] += 1
        if self.errors[name] == 1:
            self._say(
                f"warning: {name} fails to observe requests, which are answered as before: "
                f"{type(error).__name__}: {error}; further failures are counted (edgehone_observer_errors_total)"
            )
