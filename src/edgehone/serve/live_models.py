"""The models of a server by name. They change while it runs, without losing a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from edgehone.core.errors import EdgehoneError
from edgehone.serve.inflight import InFlight
from edgehone.serve.model import Model
from edgehone.serve.models import model_of
from edgehone.serve.served import Served

# The longest time that a replaced model is kept for the requests that it still answers.
_DRAIN_SECONDS = 600.0
_LOOK_SECONDS = 0.5


class Busy(EdgehoneError):
    """Another change of the same model is under way."""


class Models:
    """The models that are served. `by_name` is what requests look up."""

    def __init__(self, unload_after: float | None, say: Callable[[str], None]) -> None:
        """`unload_after` is the number of seconds after which an idle model is unloaded (None: never)."""
        self.unload_after, self._say = unload_after, say
        self._models: dict[str, Model] = {}
        self._changing: set[str] = set()
        self._draining: set[asyncio.Task[None]] = set()
        self._idle: asyncio.Task[None] | None = None
        self.in_flight = InFlight()

    @property
    def by_name(self) -> Mapping[str, Model]:
        """The models that are served now. It changes when they do."""
        return self._models

    @property
    def changing(self) -> Sequence[str]:
        """The names of the models that are being loaded or replaced."""
        return sorted(self._changing)

    def start(self, served: Sequence[Served]) -> None:
        """Start to serve these; they get ready in the background."""
        for one in served:
            self._models[one.name] = model_of(one, self._say)
            self._models[one.name].start()
        if self.unload_after is not None:
            self._idle = asyncio.create_task(self._unload_idle(self.unload_after))

    async def opened(self) -> None:
        """Wait until every model is ready. Raises JobError with the reason if one does not start."""
        for model in self._models.values():
            await model.opened()

    async def end(self) -> None:
        """End every model."""
        for task in (*self._draining, *filter(None, [self._idle])):
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        await asyncio.gather(*(model.end() for model in self._models.values()))

    async def change(self, name: str, read: Callable[[], Served], expected: str | None = None) -> Model:
        """Serve a bundle under a name: load it beside the model that has it, and move the requests when it is ready.

        The replaced model answers the requests that it has, and ends. `read` reads the bundle, in a thread. Raises Busy
        if the name is changing already, or if the id of the model that has it is not the `expected` one; JobError if
        the engine does not start or is not proven; and what `read` raises. The model that had the name then serves on.
        """
        if name in self._changing:
            raise Busy(f"{name} is being changed already", hint="wait for it: GET /admin/bundles")
        present = self._models.get(name)
        if expected is not None and (present is None or present.id != expected):
            raise Busy(f"{name} was changed by someone else meanwhile", hint="look again: GET /admin/bundles")
        self._changing.add(name)
        try:
            model = model_of(await asyncio.to_thread(read), self._say)
            model.start()
            try:
                await model.opened()
            except BaseException:
                await model.end()
                raise
            replaced = self._models.get(name)
            self._models[name] = model
        finally:
            self._changing.discard(name)
        self._say(f"{name}: {model.served.bundle.path} is served{' in its place' if replaced else ''}")
        if replaced:
            # One that cannot answer would keep its requests until their deadlines.
            self._drain(replaced, _DRAIN_SECONDS if replaced.problem is None else 0.0)
        return model

    def reserve(self, name: str) -> None:
        """Reserve a model: nothing else changes, removes or unloads it until `release`. Raises Busy if it is."""
        if name in self._changing:
            raise Busy(f"{name} is being changed already", hint="wait for it: GET /admin/bundles")
        self._changing.add(name)

    def release(self, name: str) -> None:
        """Let others change a model again."""
        self._changing.discard(name)

    def put(self, name: str, model: Model) -> None:
        """Serve a ready model in the place of the one that has its name, which ends like one of `change`."""
        replaced, self._models[name] = self._models[name], model
        self._drain(replaced, _DRAIN_SECONDS if replaced.problem is None else 0.0)

    def retire(self, model: Model) -> None:
        """End a ready model that was served beside the one of its name, when its open requests have ended."""
        self._drain(model, _DRAIN_SECONDS if model.problem is None else 0.0)

    def remove(self, name: str) -> None:
        """Serve a model no longer. It answers the requests that it has, and ends. Raises Busy, KeyError."""
        if name in self._changing:
            raise Busy(f"{name} is being changed", hint="wait for it: GET /admin/bundles")
        self._drain(self._models.pop(name), _DRAIN_SECONDS)
        self._say(f"{name}: served no longer")

    def _drain(self, model: Model, seconds: float) -> None:
        """End a model, which no new request finds, when the requests that were open have ended, or after a time."""

        async def drain() -> None:
            try:
                await self.in_flight.passed(seconds)
            finally:
                await model.end()

        task = asyncio.create_task(drain())
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _unload_idle(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, seconds))
            for model in list(self._models.values()):
                if model.name not in self._changing and await model.unload(seconds):
                    self._say(f"{model.name}: unloaded after {seconds:g} s without a request")
