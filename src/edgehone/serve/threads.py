"""Work in a thread that is done whatever happens to the task that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def surely(function: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
    """Return what a function returns in a thread. A task that is cancelled meanwhile ends when the function has.

    `asyncio.to_thread` drops a function whose task is cancelled while all threads are busy: what it should have
    written would be lost.
    """
    running = asyncio.create_task(asyncio.to_thread(function, *args, **more))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                continue  # cancelled again, for example by the end of the event loop
        raise
