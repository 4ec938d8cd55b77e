"""A connection to a host: one process of the system's ssh client, and an agent at the other end.

    ssh://user@host:port/folder    `folder` is the EDGEHONE_HOME on the host (default: the host's own setting)

Keys, host keys and jump hosts come from the user's ssh configuration. ssh never prompts: where it would, the connection
fails with an error that says what to do. The host needs Python; edgehone's source is sent to it.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import requires
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from edgehone.core.errors import InputError, SetupError
from edgehone.execution.job import Progress
from edgehone.execution.processes import end_tree
from edgehone.execution.remote import messages
from edgehone.execution.remote.ssh_errors import RUN_AGAIN, explain
from edgehone.execution.source_digest import package_path

SCHEME = "ssh://"
# The requirements of edgehone that the agent needs; the others are for the user interface.
_REQUIREMENTS = ("numpy", "psutil", "uv")
# The shipped model is an example, not code.
_EXCLUDED = ("__pycache__", "demo-model")
_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15")
# It contains no single quote, newline or exclamation mark: every login shell takes it, in single quotes, as one word.
_FIND_PYTHON = (
    'for p in python3 python3.14 python3.13 python3.12 python3.11; do if "$p" -c "import sys; '
    'sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then exec "$p" -u -c "import base64, sys; '
    'exec(base64.b64decode(sys.argv[1]))" {bootstrap}; fi; done; echo "edgehone: no python"; python3 --version 2>&1'
)


@dataclass(frozen=True)
class Address:
    """The parts of an ssh:// URL: `destination` in ssh's own form; port and folder if the URL names them."""

    destination: str
    port: int | None = None
    folder: str = ""

    @property
    def name(self) -> str:
        """The name that is shown to users."""
        return f"{self.destination}:{self.port}" if self.port else self.destination

    @property
    def command(self) -> list[str]:
        """The command that connects by hand."""
        return ["ssh", *(["-p", str(self.port)] if self.port else []), self.destination]


def parse_address(url: str) -> Address:
    """Parse an ssh:// URL. Raises InputError if it is not a valid address."""
    hint = "write --device ssh://user@host, ssh://user@host:2222 or ssh://user@host/folder/for/edgehone"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError(f"--device {url}: {error}", hint=hint) from error
    host, user = parts.hostname, parts.username
    plain = re.compile(r"[\w.:][\w.:%-]*")  # must not look like an option of ssh
    if not host or not plain.fullmatch(host) or (user and not plain.fullmatch(user)):
        raise InputError(f"--device {url} names no host", hint=hint)
    if parts.password or parts.query or parts.fragment:
        raise InputError(f"--device {url}: it must not contain a password, query or fragment", hint=hint)
    return Address(f"{user}@{host}" if user else host, port, unquote(parts.path.rstrip("/")))


class Connection:
    """A connection to an agent on a host, which serves one request at a time.

    Closing the connection, or the end of this process, ends the agent.
    """

    def __init__(self, address: Address, packages: Iterable[str], on_progress: Progress) -> None:
        """Connect, and send the source of `packages` if the host does not have it.

        Raises SetupError: unknown host, unknown host key, failed authentication, no recent Python, no space.
        """
        self.address = address
        self.name = address.name
        self._lock = threading.Lock()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection
        bootstrap = base64.b64encode(Path(__file__).with_name("bootstrap.py").read_bytes()).decode()
        script = f"exec sh -c {shlex.quote(_FIND_PYTHON.format(bootstrap=bootstrap))}"
        command = [*address.command[:1], *_OPTIONS, *address.command[1:], script]
        on_progress(0.0, f"connecting to {self.name}")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
                bufsize=0,
            )
        except FileNotFoundError as error:
            raise SetupError(
                "no ssh client is installed on this machine", hint="apt install openssh-client"
            ) from error
        assert self._process.stdin and self._process.stdout
        self._requests = self._process.stdin.fileno()
        self._replies = messages.Reader(self._process.stdout.fileno())
        try:
            self._start_agent(sorted(packages), on_progress)
        except BaseException:
            self.close()
            raise

    def _start_agent(self, packages: list[str], on_progress: Progress) -> None:
        """Tell the bootstrap code what to run, send the source if it asks for it, and wait until the agent is ready."""
        source = _archive(packages)
        start = {
            "digest": sha256(source).hexdigest()[:16],
            "home": self.address.folder,
            "requirements": _requirements(),
            "source": len(source),
            "packages": packages,
        }
        # If the host has ended the connection already, its last lines say why.
        with suppress(BrokenPipeError):
            messages.send(self._requests, start)
        while (line := self._replies.line()) is not None:
            message = _parse_object(line)
            if message.get("edgehone") == "source":
                on_progress(0.0, f"sending edgehone's source to {self.name}")
                with suppress(BrokenPipeError):
                    _write_all(self._process.stdin, source)
            elif message.get("edgehone") == "error":
                raise SetupError(f"{self.name}: {message['message']}", hint=message["hint"])
            elif message.get("edgehone") == "ready":
                return
            elif line.startswith(b"edgehone: no python"):
                version = (self._replies.line() or b"none").decode(errors="replace")
                raise SetupError(
                    f"{self.name} has no Python 3.11 or newer (found: {version})",
                    hint=f"install one there, then {RUN_AGAIN}",
                )
            # Any other line was printed by the start-up files of a shell.
        self._raise_lost("while connecting")

    def request(
        self,
        method: str,
        params: Mapping[str, Any],
        data: bytes = b"",
        on_progress: Progress = lambda fraction, doing: None,
    ) -> tuple[Any, bytes]:
        """Send a request (`agent.handle`) and return the value and the bytes of the reply.

        Raises SetupError if the agent reports an error or the connection is cut.
        """
        with self._lock:
            try:
                messages.send(self._requests, {"method": method, "params": params}, data)
            except BrokenPipeError:
                self._raise_lost("during a request")
            while (received := self._replies.message()) is not None:
                message, reply_data = received
                if "progress" not in message:
                    return value_of(self.name, message), reply_data
                on_progress(*message["progress"])
        return self._raise_lost("during a request")

    def close(self) -> None:
        """End the agent with all that it runs, and the ssh process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        end_tree(self._process.pid)
        self._process.wait()
        self._stderr.close()

    def _raise_lost(self, when: str) -> NoReturn:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        self._stderr.seek(0)
        output = self._stderr.read().decode(errors="replace").strip()
        raise explain(self.name, self.address.command, output, when)


def value_of(name: str, reply: Mapping[str, Any]) -> Any:
    """Return the value in an agent's reply. Raises SetupError, which names the machine, if the reply is an error."""
    if error := reply.get("error"):
        hint = error["hint"] or RUN_AGAIN
        if "edgehone backends install" in hint:  # edgehone's command line is not installed there
            hint = f"correct this on {name}, then {RUN_AGAIN}"
        raise SetupError(f"{name}: {error['message']}", hint=hint)
    return reply["ok"]


def _parse_object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _write_all(pipe: Any, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[pipe.write(rest) :]


def _requirements() -> list[str]:
    lines = [line.partition(";")[0].strip() for line in requires("edgehone") or ()]
    return [line for line in lines if re.split(r"[<>=~! ]", line)[0] in _REQUIREMENTS]


def _archive(packages: Iterable[str]) -> bytes:
    """Return a .tar.gz of the files of packages. Equal files give equal bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for name in packages:
            path = package_path(name)
            if path.is_file():
                archive.add(path, path.name, filter=_without_owner)
                continue
            for file in sorted(path.rglob("*")):
                if file.is_file() and not set(file.relative_to(path).parts) & set(_EXCLUDED):
                    archive.add(file, f"{name}/{file.relative_to(path)}", filter=_without_owner)
    data = buffer.getvalue()
    # Bytes 4 to 7 of a gzip header are the time of compression.
    return data[:4] + bytes(4) + data[8:]


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member
