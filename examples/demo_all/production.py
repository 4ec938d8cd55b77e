"""Production: a server that serves version 1, and clients that send requests to it."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from edgehone.core.errors import JobError
from edgehone.inputs.texts import shipped
from edgehone.serve.load.client import Client
from edgehone.serve.load.started import server
from examples.demo_all.place import NAME, Place

CLIENTS = 4
_TOKENS = 4
_CHARACTERS = (60, 200)
# Between an answer and the next request of a client: people do not ask without a pause.
_PAUSE_SECONDS = 0.03
# The requests that drift detection takes as its reference; the default of 1,536 would take a minute longer.
_DRIFT_REQUESTS = 600


@dataclass
class Live:
    """The server in production, and its clients. `statuses` counts their answers, also while one is in capitals."""

    port: int
    text: str
    statuses: Counter[int] = field(default_factory=Counter)
    _clients: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    def begin(self) -> None:
        """Let the clients send requests, unless they do."""
        if not self._clients:
            self._clients = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]

    def shout(self) -> None:
        """Let the clients write in capitals from now on: other tokens than the version was approved for."""
        self.text = self.text.upper()

    async def end(self) -> None:
        """End the clients. Raises JobError if one of them failed."""
        for one in self._clients:
            one.cancel()
        for found in await asyncio.gather(*self._clients, return_exceptions=True):
            if isinstance(found, Exception):
                raise JobError(f"a client of the server failed: {found!r}")

    async def _client(self, number: int) -> None:
        chance, client = random.Random(number), Client(self.port)
        try:
            while True:
                at, length = chance.randrange(len(self.text) - 200), chance.randint(*_CHARACTERS)
                body = {
                    "model": NAME,
                    "prompt": self.text[at : at + length],
                    "max_tokens": _TOKENS,
                    "temperature": 0,
                }
                answer = await client.post("/v1/completions", body)
                self.statuses[answer.status] += 1
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            client.close()


@asynccontextmanager
async def production(place: Place) -> AsyncIterator[Live]:
    """Serve version 1 until the block ends."""
    bundle = place.folder / "served" / NAME
    await place.edgehone(
        "registry", "pull", f"{NAME}:production", "--out", bundle, "--registry", place.registry
    )
    settings = place.folder / "serve.toml"
    settings.write_text(
        f"drift_requests = {_DRIFT_REQUESTS}\nstate = {json.dumps(str(place.folder / 'state'))}\n"
        f"admin_key_file = {json.dumps(str(place.operators))}\n"
        f"[bundles.{NAME}]\npath = {json.dumps(str(bundle))}\n"
    )
    text = " ".join(shipped("evaluation").read_text("utf-8").split())
    async with server(None, "--config", str(settings), log=place.folder / "production.log") as started:
        live = Live(started.port, text)
        place.tell(f"Production serves it at {live.url}, ready after {started.seconds:.1f} s.")
        try:
            yield live
        finally:
            await live.end()
