"""A machine over SSH: one process of the system's own ssh client, and an agent at its other end.

    ssh://user@host:port/folder    `folder` is the EDGEHONE_HOME there (default: as that host has it)

Keys, host keys and jumps are as the user's own configuration of ssh has them. Nothing is asked: what would need an
answer is an error that says what to do. The host needs a Python; edgehone's source is sent to it.
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

from edgehone.core.errors import EdgehoneError, InputError, SetupError
from edgehone.execution.job import Progress
from edgehone.execution.processes import end_tree
from edgehone.execution.remote import wire
from edgehone.execution.source_digest import package_path

SCHEME = "ssh://"
AGAIN = "run the same command again: what was finished is kept, here and there"
# The agent needs these of edgehone's own requirements; the rest serves what people see.
_NEEDED = ("numpy", "uv")
# The shipped model is an example, not code.
_LEFT_OUT = ("__pycache__", "demo-model")
_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15")
# No double quote, newline or exclamation mark within: whatever shell the user has there sees one word.
_FIND_PYTHON = (
    'for p in python3 python3.14 python3.13 python3.12 python3.11; do if "$p" -c "import sys; '
    'sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then exec "$p" -u -c "import base64, sys; '
    'exec(base64.b64decode(sys.argv[1]))" {boot}; fi; done; echo "edgehone: no python"; python3 --version 2>&1'
)


@dataclass(frozen=True)
class Address:
    """Where an ssh:// URL leads: `destination` as ssh takes it, the port and the folder if they are named."""

    destination: str
    port: int | None = None
    folder: str = ""

    @property
    def name(self) -> str:
        """What people know it by."""
        return f"{self.destination}:{self.port}" if self.port else self.destination

    @property
    def command(self) -> list[str]:
        """What reaches it by hand."""
        return ["ssh", *(["-p", str(self.port)] if self.port else []), self.destination]


def address(url: str) -> Address:
    """The address of an ssh:// URL. Raises InputError for one that leads nowhere."""
    hint = "write --device ssh://user@host, ssh://user@host:2222 or ssh://user@host/folder/for/edgehone"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError(f"--device {url}: {error}", hint=hint) from error
    host, user = parts.hostname, parts.username
    plain = re.compile(r"[\w.:][\w.:%-]*")  # never an option of ssh's
    if not host or not plain.fullmatch(host) or (user and not plain.fullmatch(user)):
        raise InputError(f"--device {url} names no host", hint=hint)
    if parts.password or parts.query or parts.fragment:
        raise InputError(f"--device {url}: a password, query or fragment has no place in it", hint=hint)
    return Address(f"{user}@{host}" if user else host, port, unquote(parts.path.rstrip("/")))


class Connection:
    """An agent on a host: `ask` it, one question at a time. Closing it, or the end of this process, ends it."""

    def __init__(self, where: Address, packages: Iterable[str], tell: Progress) -> None:
        """Connect, and send edgehone's source if the host lacks it.

        Raises SetupError: no such host, key unknown or refused, no Python that is new enough, no space.
        """
        self.where = where
        self.name = where.name
        self._lock = threading.Lock()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection
        boot = base64.b64encode(Path(__file__).with_name("bootstrap.py").read_bytes()).decode()
        script = f"exec sh -c {shlex.quote(_FIND_PYTHON.format(boot=boot))}"
        command = [*where.command[:1], *_OPTIONS, *where.command[1:], script]
        tell(0.0, f"connecting to {self.name}")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                start_new_session=True,
                bufsize=0,
            )
        except FileNotFoundError as error:
            raise SetupError("there is no ssh on this machine", hint="apt install openssh-client") from error
        assert self._process.stdin and self._process.stdout
        self._to = self._process.stdin.fileno()
        self._from = wire.Reader(self._process.stdout.fileno())
        try:
            self._greet(sorted(packages), tell)
        except BaseException:
            self.close()
            raise

    def _greet(self, packages: list[str], tell: Progress) -> None:
        source = _archive(packages)
        order = {
            "digest": sha256(source).hexdigest()[:16],
            "home": self.where.folder,
            "requirements": _requirements(),
            "source": len(source),
            "packages": packages,
        }
        with suppress(BrokenPipeError):
            wire.send(self._to, order)
            while (line := self._from.line()) is not None:
                told = _told(line)
                if told.get("edgehone") == "source":
                    tell(0.0, f"sending edgehone's source to {self.name}")
                    _write_all(self._process.stdin, source)
                elif told.get("edgehone") == "error":
                    raise SetupError(f"{self.name}: {told['message']}", hint=told["hint"])
                elif told.get("edgehone") == "ready":
                    return
                elif line.startswith(b"edgehone: no python"):
                    found = (self._from.line() or b"none").decode(errors="replace")
                    raise SetupError(
                        f"{self.name} has no Python 3.11 or newer (found: {found})",
                        hint=f"install one there, then {AGAIN}",
                    )
                # Anything else is what a shell's start-up files print.
        self._lost("while connecting")

    def ask(
        self,
        what: str,
        given: Mapping[str, Any],
        data: bytes = b"",
        tell: Progress = lambda fraction, what: None,
    ) -> tuple[Any, bytes]:
        """The agent's answer to `what` (see `agent`), and the bytes with it.

        Raises SetupError if it cannot do it, or if the connection is cut.
        """
        with self._lock:
            try:
                wire.send(self._to, {"ask": what, "given": given}, data)
            except BrokenPipeError:
                self._lost("in the middle of its work")
            while (message := self._from.message()) is not None:
                told, found = message
                if "progress" not in told:
                    return settle(self.name, told), found
                tell(*told["progress"])
        return self._lost("in the middle of its work")

    def close(self) -> None:
        """End the agent and all that it runs, and the ssh process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        end_tree(self._process.pid)
        self._process.wait()
        self._said.close()

    def _lost(self, when: str) -> NoReturn:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()
        raise _why(self.where, said, when)


def settle(name: str, told: Mapping[str, Any]) -> Any:
    """The value of an answer. Raises SetupError, naming the machine, where it holds an error."""
    if error := told.get("error"):
        hint = error["hint"] or AGAIN
        if "edgehone backends install" in hint:  # it is not a command there
            hint = f"mend it on {name}, then {AGAIN}"
        raise SetupError(f"{name}: {error['message']}", hint=hint)
    return told["ok"]


# What ssh says -> what that means, and what to type; `{by_hand}` is the command that connects by hand.
_MEANINGS = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is another one than it was",
        "find out why before you go on: {by_hand}",
    ),
    (
        r"Host key verification failed|No .* host key is known",
        "its host key is not known here",
        "connect once by hand, look at the key and accept it: {by_hand}",
    ),
    (
        r"Permission denied|Too many authentication failures",
        "it lets nobody in with the keys that are offered",
        "ssh-copy-id, or load the key into ssh-agent; then try {by_hand} true",
    ),
    (
        r"Could not resolve hostname|Connection refused|timed out|No route to host|Network is unreachable",
        "it cannot be reached",
        "see whether it is up and runs an SSH server: {by_hand} true",
    ),
)


def _why(where: Address, said: str, when: str) -> EdgehoneError:
    by_hand = shlex.join(where.command)
    last = said.splitlines()[-1].strip() if said else "ssh said nothing"
    for pattern, meaning, hint in _MEANINGS:
        if re.search(pattern, said):
            return SetupError(f"{where.name}: {meaning} ({last})", hint=hint.format(by_hand=by_hand))
    return SetupError(f"{where.name}: the connection was lost {when} ({last})", hint=AGAIN)


def _told(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _write_all(pipe: Any, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[pipe.write(rest) :]


def _requirements() -> list[str]:
    found = [line.partition(";")[0].strip() for line in requires("edgehone") or ()]
    return [line for line in found if re.split(r"[<>=~! ]", line)[0] in _NEEDED]


def _archive(packages: Iterable[str]) -> bytes:
    """A .tar.gz of packages' own files; the same bytes for the same files."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz", compresslevel=6) as archive:
        for name in packages:
            path = package_path(name)
            if path.is_file():
                archive.add(path, path.name, filter=_plain)
                continue
            for file in sorted(path.rglob("*")):
                if file.is_file() and not set(file.relative_to(path).parts) & set(_LEFT_OUT):
                    archive.add(file, f"{name}/{file.relative_to(path)}", filter=_plain)
    data = whole.getvalue()
    # gzip's header holds the time.
    return data[:4] + bytes(4) + data[8:]


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member
