"""The shadows of a server: challengers that get copies of the requests to their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp

from edgehone.serve.model import Model
from edgehone.serve.record import Record
from edgehone.serve.rollout.copies import Copies, Exchange, Shadow

Answering = Callable[[Mapping[str, Model]], ASGIApp]
Tell = Callable[[Exchange, Record, bytes], None]


class Shadows:
    """Begins and ends shadows by name."""

    def __init__(self, answering: Answering) -> None:
        """`answering` makes an application that answers requests to models."""
        self._answering = answering
        self._copies: Copies | None = None
        self._begun: dict[str, Shadow] = {}

    def wrap(self, application: ASGIApp) -> ASGIApp:
        """Return an application that can send copies of requests to challengers."""
        self._copies = Copies(application)
        return self._copies

    def begin(self, name: str, challenger: Model, tell: Tell) -> None:
        """Send a challenger copies of the requests to a name; `tell` gets what became of each."""
        assert self._copies is not None
        shadow = Shadow(self._answering({name: challenger}), tell)
        self._begun[name] = shadow
        self._copies.shadows[name] = shadow

    def end(self, name: str) -> None:
        """Send no further copies. Those that are under way are answered."""
        if self._copies is not None:
            self._copies.shadows.pop(name, None)

    async def close(self) -> None:
        """Cancel all copies that are under way, since the server ends."""
        for shadow in self._begun.values():
            await shadow.end()
