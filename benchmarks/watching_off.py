"""Run edgehone's command line with a server that nobody watches: `benchmarks.watching` compares with it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edgehone.cli.main import main
from edgehone.serve.observers import Observers
from edgehone.serve.record import Headers, Record
from edgehone.serve.watching import Watching


def _begin(self: Observers, model: str, path: str, headers: Headers) -> Record:
    """Return a record of which nothing is told."""
    return Record(model, path, headers, lambda record: None, sampled=False)


@asynccontextmanager
async def _running(self: Watching) -> AsyncIterator[None]:
    """Run nothing in the background."""
    yield


if __name__ == "__main__":
    Observers.begin = _begin  # type: ignore[method-assign]
    Watching.running = _running  # type: ignore[method-assign]
    sys.exit(main())
