"""Start a server, and find its processes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.serving.client import Client
from edgehone.execution import service
from edgehone.execution.job import Job
from edgehone.serve.channel import Channel


@dataclass(frozen=True)
class Started:
    """A server that is ready: its process, its port, and the seconds from its start until it was ready."""

    process: psutil.Process
    port: int
    seconds: float

    @property
    def llama_server(self) -> psutil.Process | None:
        """The llama-server of its engine, if it has one."""
        children = self.process.children(recursive=True)
        return next((one for one in children if one.name() == "llama-server"), None)

    @property
    def llama_socket(self) -> Path:
        """The Unix socket on which that listens."""
        assert self.llama_server is not None
        words = self.llama_server.cmdline()
        return Path(words[words.index("--host") + 1])

    def memory(self) -> dict[str, float]:
        """Return the memory (PSS) in MB of the server and of its children, without a llama-server."""
        found = {"server": self.process.memory_full_info().pss / 1e6}
        for child in self.process.children(recursive=True):
            if child.name() != "llama-server":
                role = _role(child)
                found[role] = found.get(role, 0.0) + child.memory_full_info().pss / 1e6
        return found


def _role(process: psutil.Process) -> str:
    """Return "engine" or "text", by what the process was started for."""
    folder = Path(json.loads(process.cmdline()[-1])["args"][0])
    return "engine" if ".engine:" in json.loads((folder / "job.json").read_text("utf-8"))["call"] else "text"


@asynccontextmanager
async def server(bundle: Path, *words: str) -> AsyncIterator[Started]:
    """Serve a bundle until the block ends, and wait until it is ready."""
    begun = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "edgehone.cli.main",
        "serve",
        str(bundle),
        "--port",
        "0",
        "--json",
        *words,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
            client = Client(port)
            while (await client.get("/readyz")).status != 200:
                if process.poll() is not None:
                    raise SystemExit(f"edgehone serve ended with {process.returncode}")
                await asyncio.sleep(0.02)
            client.close()
            yield Started(psutil.Process(process.pid), port, time.perf_counter() - begun)
        finally:
            process.terminate()


@asynccontextmanager
async def service_of(job: Job) -> AsyncIterator[Channel]:
    """Run a job that answers messages until the block ends."""
    running = service.start(job)
    channel = Channel(lambda message: None)
    reading = asyncio.create_task(channel.read(await channel.connect(running.channel)))
    try:
        yield channel
    finally:
        reading.cancel()
        await asyncio.wait([reading])  # it closes the channel
        await asyncio.to_thread(running.end)
