"""The servers of the slots: `edgehone serve` as a process that outlives a killed agent.

A new server takes over the port of the one that runs: both share it, and the kernel gives connections to those that
listen, which the new one does only when it has proven itself. Then the old one is told to end, and answers what it has.
"""

from __future__ import annotations

import http.client
import os
import secrets
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from edgehone.execution.processes import end_tree, wait
from edgehone.fleet.errors import BadRelease
from edgehone.fleet.settings import AgentSettings
from edgehone.monitor.exposition import samples
from edgehone.serve.notify import VARIABLE

_ASK_SECONDS = 5.0
_MESSAGE = 4096
_CREDENTIALS = struct.calcsize("3i")


class Starting:
    """A server that was started and has not proven itself yet."""

    def __init__(self, settings: AgentSettings, slot: Path) -> None:
        """Start it. It is killed with the agent only if it is told to end."""
        self._listener = _listener()
        name = "@" + self._listener.getsockname()[1:].decode()
        words = [*command(settings, slot), *settings.settings.serve]
        # Its own session: Ctrl-C of a terminal is for the agent, which ends its server itself.
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            env={**os.environ, VARIABLE: name},
            start_new_session=True,
        )
        self._until = time.monotonic() + settings.rules.start_seconds
        self._seconds = settings.rules.start_seconds
        self._problem = ""

    def ready(self) -> bool:
        """Return whether it is proven. Raises BadRelease with the server's message if it ended or is too slow."""
        for message in self._messages():
            if message == "READY=1":
                self._listener.close()
                return True
            if message.startswith("STATUS="):
                self._problem = message.removeprefix("STATUS=")
        code = self.process.poll()
        if code is not None:
            self._listener.close()
            raise BadRelease(self._problem or f"the server ended with exit code {code}")
        if time.monotonic() > self._until:
            self._listener.close()
            raise BadRelease(self._problem or f"the server was not ready within {self._seconds:g} s")
        return False

    def end(self, seconds: float) -> None:
        """End it, with every process that it started."""
        self._listener.close()
        self.process.terminate()
        if not wait(self.process, seconds):
            end_tree(self.process.pid)
            self.process.wait()

    def _messages(self) -> list[str]:
        """Return the messages of the server itself: the kernel names the process of the sender."""
        found = []
        with suppress(BlockingIOError, OSError):
            while True:
                data, ancillary, _, _ = self._listener.recvmsg(_MESSAGE, socket.CMSG_SPACE(_CREDENTIALS))
                senders = [struct.unpack("3i", one[2][:_CREDENTIALS])[0] for one in ancillary]
                if senders == [self.process.pid]:
                    found += data.decode("utf-8", "replace").splitlines()
        return found


def command(settings: AgentSettings, slot: Path) -> list[str]:
    """Return the command of a slot's server. Clients address the bundle by the last part of the repository's name."""
    words = [
        sys.executable,
        "-P",
        "-m",
        "edgehone.cli.main",
        "serve",
        "--config",
        str(_config(settings, slot)),
    ]
    words += ["--host", settings.settings.host, "--port", str(settings.settings.port), "--take-over"]
    words += ["--verify-key", str(settings.bundle_key_file)]
    return [*words, *(["--revoked", str(settings.revoked)] if settings.revoked else [])]


def _config(settings: AgentSettings, slot: Path) -> Path:
    """Write the settings that name the bundle, the same for both slots, so that clients see one name."""
    path = slot.with_suffix(".toml")
    text = f'[bundles."{model_name(settings)}"]\npath = "{slot.name}"\n'
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
    return path


def model_name(settings: AgentSettings) -> str:
    """Return the name by which clients ask for the model: the last part of the repository."""
    return settings.address.repository.rpartition("/")[2]


def running(settings: AgentSettings) -> list[tuple[str, psutil.Process]]:
    """Return the servers of the agent's slots that run, which an earlier agent may have left, by slot."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            for side in ("a", "b"):
                config = str((settings.folder / "slots" / side).with_suffix(".toml"))
                if config in words and "serve" in words:
                    found.append((side, process))
    return found


def is_ready(settings: AgentSettings) -> bool:
    """Return whether the server at the port says that it is ready."""
    return _asked(settings, "/readyz") is not None


def engine_restarts(settings: AgentSettings) -> int:
    """Return how often the server at the port has started its engine again; 0 if it does not answer."""
    text = _asked(settings, "/metrics") or ""
    return int(sum(value for _, _, value in samples(text, ("edgehone_engine_restarts",))))


def is_alive(process: psutil.Process) -> bool:
    """Return whether a server has not ended."""
    try:
        process.wait(0)
    except psutil.TimeoutExpired:
        return True
    except psutil.Error:
        return False
    return False


def _asked(settings: AgentSettings, path: str) -> str | None:
    """Return the answer of the server at the port; None if there is none, or another status than 200."""
    host = settings.settings.host
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    connection = http.client.HTTPConnection(here, settings.settings.port, timeout=_ASK_SECONDS)
    if any(word.startswith("--tls-cert") for word in settings.settings.serve):
        # The certificate is that of the device's public name; here only this machine is asked.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(
            here, settings.settings.port, timeout=_ASK_SECONDS, context=context
        )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read().decode("utf-8", "replace") if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def end(process: psutil.Process, seconds: float) -> None:
    """End a server: it answers the requests that it has, for so many seconds at most."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except psutil.TimeoutExpired:
            end_tree(process.pid)
            with suppress(psutil.TimeoutExpired):
                process.wait(_ASK_SECONDS)


def _listener() -> socket.socket:
    """Return a socket for the server's messages. Its name is in Linux' abstract namespace, so no disk is needed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    listener.bind(f"\0edgehone-agent-{os.getpid()}-{secrets.token_hex(8)}")
    listener.setblocking(False)
    return listener
