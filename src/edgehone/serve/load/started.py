"""Start a server, and find its processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from edgehone.core.errors import JobError
from edgehone.execution.tied import tied_module
from edgehone.serve.load.client import Client

# The end of the path of a shared library: libc.so.6, libgomp-a49a47f9.so.1.0.0.
_LIBRARY = re.compile(r"\.so(\.[0-9]+)*$")
# A server that is not ready by then does not get ready.
PATIENCE = 600.0


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

    @property
    def engine(self) -> psutil.Process | None:
        """The process that runs the engine, None while there is none."""
        found = (one for one in self.process.children(recursive=True) if role_of(one) == "engine")
        return next(found, None)

    def memory(self) -> dict[str, float]:
        """Return the memory (PSS) in MB of the server and of its children, without a llama-server."""
        found = {"server": self.process.memory_full_info().pss / 1e6}
        for child in self.process.children(recursive=True):
            if child.name() != "llama-server":
                role = role_of(child) or "other"
                found[role] = found.get(role, 0.0) + child.memory_full_info().pss / 1e6
        return found

    def resident(self) -> float:
        """Return the resident memory in MB of the server and of all its children."""
        return self.process.memory_info().rss / 1e6 + self.resident_of_models()

    def resident_of_models(self) -> float:
        """Return the resident memory in MB of the children: engines and text processes."""
        total = 0
        for child in self.process.children(recursive=True):
            try:
                total += child.memory_info().rss
            except psutil.NoSuchProcess:  # it ended meanwhile
                continue
        return total / 1e6

    def libraries(self) -> list[str]:
        """Return the paths of the shared libraries that it and its children have in memory; none where /proc is not."""
        found = set[str]()
        for one in (self.process, *self.process.children(recursive=True)):
            try:
                lines = Path(f"/proc/{one.pid}/maps").read_text("utf-8", "surrogateescape").splitlines()
            except OSError:  # it ended meanwhile, or another system
                continue
            found.update(path for line in lines if _LIBRARY.search(path := line.partition("/")[2]))
        return sorted(f"/{path}" for path in found)


def role_of(process: psutil.Process) -> str | None:
    """Return "engine" or "text", by what a process was started for; None for another program, or one that ended."""
    try:
        folder = Path(json.loads(process.cmdline()[-1])["args"][0])
        call = json.loads((folder / "job.json").read_text("utf-8"))["call"]
    except (ValueError, IndexError, KeyError, TypeError, OSError, psutil.Error):
        return None
    return "text" if ".text_service:" in call else "engine"


@asynccontextmanager
async def server(
    bundle: Path | None,
    *words: str,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    module: str = "edgehone.cli.main",
) -> AsyncIterator[Started]:
    """Serve a bundle (None: those that the words name) until the block ends, and wait until it is ready.

    What it says goes to the file `log`, if given. `module` is what runs the command line. The server is killed if this
    process is.

    Raises JobError if it ends before, or does not get ready.
    """
    begun = time.perf_counter()
    command = ["serve", *([str(bundle)] if bundle else []), "--port", "0", "--json", *words]
    environment = {**os.environ, **(env or {})}
    errors = log.open("w+", encoding="utf-8") if log else None
    try:
        with tied_module(module, command, stdout=subprocess.PIPE, stderr=errors, env=environment) as process:
            port = _port(process, log)
            await _ready(process, port, log)
            yield Started(psutil.Process(process.pid), port, time.perf_counter() - begun)
    finally:
        if errors:
            errors.close()


def _port(process: subprocess.Popen[str], log: Path | None) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        return int(json.loads(line)["url"].rpartition(":")[2])
    except (ValueError, KeyError):  # an error, in several lines, or nothing
        said = line + process.stdout.read()
        raise _ended(process.wait(), log, said) from None


async def _ready(process: subprocess.Popen[str], port: int, log: Path | None) -> None:
    client, begun = Client(port), time.monotonic()
    while (await client.get("/readyz")).status != 200:
        if (code := process.poll()) is not None:
            raise _ended(code, log)
        if time.monotonic() - begun > PATIENCE:
            raise JobError(f"edgehone serve is not ready after {PATIENCE:.0f} s", log=log)
        await asyncio.sleep(0.02)
    client.close()


def _ended(code: int, log: Path | None, said: str = "") -> JobError:
    text = (log.read_text("utf-8", "replace") if log else "") + said
    last = " ".join(text.split())[-300:]
    return JobError(f"edgehone serve ended with exit code {code}" + (f": {last}" if last else ""), log=log)
