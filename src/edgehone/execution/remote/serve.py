"""The host's end of an ssh connection: answers one question after another until the connection closes."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edgehone.execution.remote import agent, wire


def main() -> None:
    """Answer what comes on standard input, on standard output; whatever else is printed goes to standard error."""
    answers = os.dup(1)
    os.dup2(2, 1)
    reader = wire.Reader(0)
    wire.send(answers, {"edgehone": "ready"})

    def tell(fraction: float, what: str) -> None:
        wire.send(answers, {"progress": [fraction, what]})

    while (question := reader.message()) is not None:
        told, data = question
        with _ending_with_the_connection():
            reply, found = agent.answer(told["ask"], told["given"], data, tell)
        wire.send(answers, reply, found)


@contextmanager
def _ending_with_the_connection() -> Iterator[None]:
    """End this process if the connection closes while it works.

    Who asked says nothing until it has its answer, so all that can come meanwhile is the end. A job's child ends
    with this process, which holds its standard input.
    """
    done, wake = os.pipe()

    def watch() -> None:
        ready, _, _ = select.select([0, done], [], [])
        if done not in ready:
            os._exit(1)

    watcher = threading.Thread(target=watch, daemon=True, name="connection-watch")
    watcher.start()
    try:
        yield
    finally:
        os.close(wake)
        watcher.join()
        os.close(done)
