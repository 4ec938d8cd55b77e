"""HAProxy's admin socket: weights of the servers of a backend, and the errors that it sees of them.

The socket is opened for each command, as HAProxy closes it after one. Weights are from 0 to 256; a server with 0
gets no further requests. HAProxy must balance by weight (roundrobin, leastconn, random), without cookies.
"""

from __future__ import annotations

import csv
import io
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgehone.core.errors import EdgehoneError, InputError

_SECONDS = 5.0
_MOST = 256
# Weights of all servers of a version together, so that 1 % is a whole number and 100 % of one server is within
# bounds.
_SCALE = 200
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,100}")
# What a server's row of `show stat` has to say of requests that it did not answer: connections and answers that
# failed.
_ERRORS = ("econ", "eresp")


class Lost(EdgehoneError):
    """HAProxy does not answer, or does not do what it is told."""


@dataclass(frozen=True)
class Balancer:
    """A backend of an HAProxy, and the names of the servers that serve either version."""

    path: Path
    backend: str
    champion: Sequence[str]
    challenger: Sequence[str]

    def commands(self, weight: float) -> list[str]:
        """Return the commands by which the challenger gets a share of the requests; less for it comes first."""
        mine = _each(weight, len(self.challenger))
        theirs = _each(1 - weight, len(self.champion))
        raised = [f"set weight {self.backend}/{one} {theirs}" for one in self.champion]
        return [*raised[: len(raised) if weight < 1 else 0],
                *(f"set weight {self.backend}/{one} {mine}" for one in self.challenger),
                *raised[len(raised) if weight < 1 else 0 :]]  # fmt: skip

    def move(self, weight: float) -> None:
        """Let the challenger get a share of the requests. Raises Lost."""
        for command in self.commands(weight):
            if answer := ask(self.path, command).strip():
                raise Lost(f"HAProxy refuses {command!r}: {answer[:200]}")

    def check(self) -> None:
        """Raise InputError unless the backend has the servers, and they are up."""
        rows = self._rows()
        for one in (*self.champion, *self.challenger):
            if one not in rows:
                raise InputError(
                    f"the backend {self.backend} has no server {one!r}; it has: {', '.join(rows) or 'none'}",
                    hint="--champion SERVER=URL, --challenger SERVER=URL",
                )
            if not rows[one]["status"].startswith(("UP", "no check")):
                raise InputError(
                    f"HAProxy says that {one} is {rows[one]['status']}", hint="start that server first"
                )

    def errors(self) -> Mapping[str, int]:
        """Return how many requests each server did not answer, since HAProxy began to count. Raises Lost."""
        return {name: sum(int(row[field] or 0) for field in _ERRORS) for name, row in self._rows().items()}

    def _rows(self) -> dict[str, dict[str, str]]:
        text = ask(self.path, "show stat").lstrip("# ")
        rows = csv.DictReader(io.StringIO(text))
        return {
            row["svname"]: row
            for row in rows
            if row.get("pxname") == self.backend and row["svname"] not in ("BACKEND", "FRONTEND")
        }


def balancer(text: str, champion: Sequence[str], challenger: Sequence[str]) -> Balancer:
    """Return what haproxy:SOCKET#BACKEND names. Raises InputError."""
    path, mark, backend = text.removeprefix("haproxy:").partition("#")
    names = [backend, *champion, *challenger]
    if not path or not mark or not all(map(_NAME.fullmatch, names)):
        raise InputError(
            f"{text!r} is no HAProxy, or the name of a server is none: {', '.join(names)[:80]!r}",
            hint="--to 'haproxy:/run/haproxy/admin.sock#BACKEND' --champion SERVER=URL --challenger SERVER=URL",
        )
    if not champion or not challenger or set(champion) & set(challenger):
        raise InputError(
            "HAProxy needs a server of each version, and no server of both",
            hint="--champion blue=http://127.0.0.1:8080 --challenger green=http://127.0.0.1:8081",
        )
    return Balancer(Path(path), backend, champion, challenger)


def ask(path: Path, command: str) -> str:
    """Return HAProxy's answer to a command. Raises Lost if it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(str(path))
            connection.sendall(f"{command}\n".encode())
            connection.shutdown(socket.SHUT_WR)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
    except OSError as error:
        raise Lost(
            f"HAProxy does not answer at {path}: {error}",
            hint="in its configuration: global, stats socket PATH level admin",
        ) from error
    return b"".join(parts).decode("utf-8", "replace")


def _each(share: float, servers: int) -> int:
    """Return the weight of each of so many servers; one that shall get something gets at least 1."""
    return 0 if share <= 0 else min(_MOST, max(1, round(_SCALE * share / servers)))
