"""Ask a server of this machine by HTTP: its metrics, what it serves, and changes of that."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from edgehone.core.errors import EdgehoneError, InputError, SetupError

ASK_SECONDS = 10.0
# A change loads a model and proves it; the server's own limit for that is 600 s.
CHANGE_SECONDS = 900.0
# The server takes a reason of so many characters.
LONGEST_WHY = 500


class Unreachable(SetupError):
    """The server does not answer."""


class Declined(EdgehoneError):
    """The server has refused: `status` is its answer's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Look:
    """What a server serves: its models by name as GET /admin/bundles tells them, those that change, and itself."""

    models: Mapping[str, Mapping[str, Any]]
    changing: Sequence[str]
    server: Mapping[str, Any]


class Server:
    """A server, asked with an operator's key."""

    def __init__(self, url: str, key: str | None, authority: Path | None = None) -> None:
        """`authority` is a file of certificates (PEM) that an HTTPS server is checked by. Raises InputError."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port: int | None = parts.port
        except ValueError:
            port = -1
        if (
            port == -1
            or parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.path not in ("", "/")
        ):
            raise InputError(f"{url} is no URL of a server", hint="edgehone operate http://127.0.0.1:8080")
        self._secure, self._host = parts.scheme == "https", parts.hostname
        self._port = port or (443 if self._secure else 80)
        self._key, self._trusted = key, _trusted(authority) if self._secure else None
        self.url = f"{parts.scheme}://{parts.netloc}"

    @property
    def folder(self) -> str:
        """The name of the folder of its state."""
        return f"{self._host.replace(':', '-')}_{self._port}"

    def metrics(self, seconds: float = ASK_SECONDS) -> str | None:
        """Return the text of /metrics; None if the server does not answer within so many seconds."""
        try:
            status, body = self._ask("GET", "/metrics", None, seconds)
        except Unreachable:
            return None
        return body.decode("utf-8", "replace") if status == 200 else None

    def look(self) -> Look:
        """Return what it serves. Raises Unreachable, SetupError where operators or their key are not accepted."""
        told = self.told("GET", "/admin/bundles")
        models = {one["name"]: one for one in told["bundles"]}
        return Look(models, told["changing"], told["server"])

    def watch(self) -> Mapping[str, Any] | None:
        """Return what GET /admin/watch tells of each model; None from a server that has no such route."""
        try:
            found: Mapping[str, Any] = self.told("GET", "/admin/watch")
        except Declined:
            return None
        return found

    def change(self, body: Mapping[str, Any], expected: str | None) -> Mapping[str, Any]:
        """Let it serve a bundle in a way. `expected` is the id of the model that has the name.

        Returns what it then serves. Raises Declined if it is refused, Unreachable.
        """
        asked = {**body, "expected": expected}
        found: Mapping[str, Any] = self.told("POST", "/admin/bundles", asked, CHANGE_SECONDS)
        return found

    def approve_drift(self, model: str, why: str) -> None:
        """Let it watch a model for drift anew, with the traffic from now on as the reference. Raises Declined."""
        self.told("POST", f"/admin/drift/{quote(model)}", {"why": why[:LONGEST_WHY]})

    def lease(self, operator: str, seconds: float) -> None:
        """Take or renew the right to operate it; 0 s gives it back. Raises Declined if another program has it."""
        self.told("POST", "/admin/operator", {"id": operator, "seconds": seconds})

    def told(self, method: str, path: str, body: Any = None, seconds: float = ASK_SECONDS) -> Any:
        """Return the JSON that it answers to a request of an operator.

        Raises Unreachable, SetupError where operators or their key are not accepted, Declined if it is refused.
        """
        status, answer = self._ask(method, path, body, seconds)
        if status == 200:
            return json.loads(answer)
        message = _message(answer)
        if status == 401:
            raise SetupError(
                f"{self.url} does not know this operator's key", hint="--admin-key-file: the server's"
            )
        if status == 403:
            raise SetupError(f"{self.url}: {message}", hint="run this on the server's machine")
        if status in (404, 405) and path in ("/admin/bundles", "/admin/operator", "/admin/rollouts"):
            raise SetupError(
                f"{self.url} has no {path}: it was started without keys of operators",
                hint="start it with edgehone serve --admin-key-file FILE",
            )
        raise Declined(status, message)

    def _ask(self, method: str, path: str, body: Any, seconds: float) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self._secure:
            secure = http.client.HTTPSConnection(
                self._host, self._port, timeout=seconds, context=self._trusted
            )
            connection: http.client.HTTPConnection = secure
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=seconds)
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"{self.url} does not answer: {error}", hint="is edgehone serve running?"
            ) from error
        finally:
            connection.close()


def _trusted(authority: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"--ca {authority} holds no certificates: {error}", hint="give a PEM file"
        ) from error


def _message(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer[:200].decode("utf-8", "replace") or "no reason given"
