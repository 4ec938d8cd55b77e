"""A job of an engine that is asked directly, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edgehone.execution import service
from edgehone.execution.job import Job
from edgehone.serve.channel import Channel


@asynccontextmanager
async def service_of(job: Job) -> AsyncIterator[Channel]:
    """Run a job that answers messages until the block ends."""
    running = service.start(job)
    channel = Channel(lambda message: None)
    await channel.connect(running.channel)
    reading = asyncio.create_task(channel.closed())
    try:
        yield channel
    finally:
        reading.cancel()
        await asyncio.wait([reading])  # it closes the channel
        await asyncio.to_thread(running.end)
