"""The host's end of an SSH connection: serves one request after another until the connection closes."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edgehone.execution.remote import agent, messages


def main() -> None:
    """Read requests from standard input and write replies to standard output. Other output goes to standard error."""
    replies = os.dup(1)
    os.dup2(2, 1)
    reader = messages.Reader(0)
    messages.send(replies, {"edgehone": "ready"})

    def on_progress(fraction: float, doing: str) -> None:
        messages.send(replies, {"progress": [fraction, doing]})

    while (received := reader.message()) is not None:
        message, data = received
        with _exit_if_disconnected():
            reply, reply_data = agent.handle(message["method"], message["params"], data, on_progress)
        messages.send(replies, reply, reply_data)


@contextmanager
def _exit_if_disconnected() -> Iterator[None]:
    """End this process if the connection closes while a request is served.

    The other side sends nothing until it has the reply, so anything that becomes readable meanwhile is the end of the
    stream. The child of a job ends together with this process, which holds the child's standard input.
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
