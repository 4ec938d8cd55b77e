"""Read the state of a running server without a client library: its metrics and, for operators, its bundles."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Container, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgehone.core.errors import InputError, JobError
from edgehone.monitor.exposition import samples

_SECONDS = 10.0
# More than this is no text of metrics: one of a server with 100 models has 2 MB.
_LARGEST = 32 << 20


def server_url(text: str) -> str:
    """Return the URL of a server without a path. Raises InputError for something else."""
    try:
        parts = urlsplit(text)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError as error:
        raise InputError(f"{text!r} is no URL: {error}", hint=_EXAMPLE) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise InputError(f"{text!r} is no URL of a server", hint=_EXAMPLE)
    if parts.username is not None:
        raise InputError(f"the URL {parts.hostname} has a user's name: the server has none", hint=_EXAMPLE)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


_EXAMPLE = "give one such as http://127.0.0.1:8080"


@dataclass(frozen=True)
class Access:
    """How a server is asked: certificates (PEM) that its HTTPS is checked by, a client's key, and the longest time."""

    ca: Path | None = None
    key: str | None = None
    seconds: float = _SECONDS

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of a request."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


def scrape(url: str, ca: Path | None = None, *, access: Access | None = None) -> str:
    """Return the text of /metrics. Raises JobError if the server does not answer."""
    return _get(f"{url}/metrics", access or Access(ca)).decode("utf-8", "replace")


def state_of(url: str, access: Access) -> Mapping[str, Any]:
    """Read /readyz: `problems`, `proofs` and `unloaded`. Raises JobError if the server does not answer."""
    return _object(f"{url}/readyz", _get(f"{url}/readyz", access, accepted=(503,)))


def models_of(url: str, ca: Path | None = None, *, access: Access | None = None) -> tuple[str, ...]:
    """Return the names of the models that a server serves. Raises InputError if it is no `edgehone serve`."""
    found = models_in(scrape(url, ca, access=access))
    if not found:
        raise InputError(
            f"{url} is no `edgehone serve`: /metrics has no edgehone_ready", hint="check the address"
        )
    return found


def models_in(text: str) -> tuple[str, ...]:
    """Return the names of the models in a text of /metrics; none if it is of something else."""
    try:
        return tuple(sorted(dict(labels)["model"] for _, labels, _ in samples(text, ("edgehone_ready",))))
    except (ValueError, KeyError):
        return ()


def bundles_of(url: str, key: str, ca: Path | None = None) -> Mapping[str, Path]:
    """Return the folders of the bundles by name, which the server tells operators.

    Raises InputError if the server refuses the key or does not have these requests.
    """
    path = f"{url}/admin/bundles"
    told = _object(path, _get(path, Access(ca, key)))
    return {str(one["name"]): Path(str(one["path"])) for one in told["bundles"]}


def _object(url: str, content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{url} answers with something else than `edgehone serve`", hint="check the address")
    return found


def _get(url: str, access: Access, accepted: Container[int] = ()) -> bytes:
    context = (
        ssl.create_default_context(cafile=str(access.ca) if access.ca else None)
        if url.startswith("https")
        else None
    )
    request = urllib.request.Request(url, headers=dict(access.headers))
    try:
        with urllib.request.urlopen(request, timeout=access.seconds, context=context) as answer:
            return _content(url, answer, access.seconds)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in accepted:
                return error.read(_LARGEST)
        raise InputError(
            f"{url} answers with status {error.code}",
            hint="give the key of an operator by --admin-key-file"
            if "/admin" in url
            else "check the address, and the key (--api-key-file)",
        ) from error
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise JobError(
            f"{url} does not answer: {reason}", hint="see whether `edgehone serve` runs there"
        ) from error


def _content(url: str, answer: HTTPResponse, seconds: float) -> bytes:
    """Return a body, within the longest time in all: a server may send a byte now and then for ever."""
    parts, size, until = [], 0, time.monotonic() + seconds
    while part := answer.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > _LARGEST:
            raise InputError(f"{url} answers with more than {_LARGEST >> 20} MB", hint="check the address")
        if time.monotonic() > until:
            raise TimeoutError(f"its answer had not ended after {seconds:g} s")
    return b"".join(parts)
