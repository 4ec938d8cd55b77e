"""The lock of the machine: shared by builds, exclusive for measurements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from edgehone.execution.home import OnWait, file_lock, home

NAME = "machine.lock"
QUEUE = "machine-queue.lock"


@contextmanager
def machine_lock(exclusive: bool, on_wait: OnWait = lambda held: None) -> Iterator[None]:
    """Hold the lock. While it has to be waited for, `on_wait` is told who holds it (`home.file_lock`).

    Builds of several runs may overlap without end, and a measurement would then wait for ever. So each waits for the
    lock while it holds the queue's lock, which it releases once it has the first: a build that comes after a waiting
    measurement starts after it.
    """
    folder = home() / "locks"
    with ExitStack() as held:
        with file_lock(folder / QUEUE, on_wait=on_wait):
            held.enter_context(file_lock(folder / NAME, shared=not exclusive, on_wait=on_wait))
        yield
