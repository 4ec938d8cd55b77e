"""What a running server tells of itself, without a client library: its metrics, and to operators its bundles."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
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
        raise InputError(f"{text!r} has a user's name: the server has none", hint=_EXAMPLE)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


_EXAMPLE = "give one such as http://127.0.0.1:8080"


def scrape(url: str, ca: Path | None = None) -> str:
    """Return the text of /metrics. Raises JobError if the server does not answer."""
    return _get(f"{url}/metrics", {}, ca).decode("utf-8", "replace")


def models_of(url: str, ca: Path | None = None) -> tuple[str, ...]:
    """Return the names of the models that a server serves. Raises InputError if it is no `edgehone serve`."""
    text = scrape(url, ca)
    try:
        found = sorted(dict(labels)["model"] for _, labels, _ in samples(text, ("edgehone_ready",)))
    except (ValueError, KeyError):
        found = []
    if not found:
        raise InputError(
            f"{url} is no `edgehone serve`: /metrics has no edgehone_ready", hint="check the address"
        )
    return tuple(found)


def bundles_of(url: str, key: str, ca: Path | None = None) -> Mapping[str, Path]:
    """Return the folders of the bundles by name, which the server tells operators.

    Raises InputError if the server refuses the key or does not have these requests.
    """
    told: Any = json.loads(_get(f"{url}/admin/bundles", {"Authorization": f"Bearer {key}"}, ca))
    return {str(one["name"]): Path(str(one["path"])) for one in told["bundles"]}


def _get(url: str, headers: Mapping[str, str], ca: Path | None) -> bytes:
    context = ssl.create_default_context(cafile=str(ca) if ca else None) if url.startswith("https") else None
    request = urllib.request.Request(url, headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS, context=context) as answer:
            content: bytes = answer.read(_LARGEST + 1)
    except urllib.error.HTTPError as error:
        raise InputError(
            f"{url} answers with status {error.code}",
            hint="give the key of an operator by --admin-key-file"
            if "/admin" in url
            else "check the address",
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise JobError(
            f"{url} does not answer: {reason}", hint="see whether `edgehone serve` runs there"
        ) from error
    if len(content) > _LARGEST:
        raise InputError(f"{url} answers with more than {_LARGEST >> 20} MB", hint="check the address")
    return content
