"""Change the version that a server serves, under load, and change it back if requests fail."""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgehone.certify.asked import Asked
from edgehone.core.errors import InputError, JobError
from edgehone.pipeline.serving.requests import asking, counted
from edgehone.serve.keys import read_keys
from edgehone.serve.load.client import Answered
from edgehone.serve.load.loads import closed_for
from edgehone.serve.load.started import server

# Loading and proving a model of some GB takes minutes.
_PATIENCE = 900.0
_CLIENTS = 2
# Statuses that say nothing against the new version: too many requests at once, and a key that is needed.
_EXPECTED = (200, 401, 429)


def served(url: str, key_file: str, name: str) -> dict[str, Any] | None:
    """Return what an operator is told of the model that a server serves under a name; None if there is none."""
    found = _ask(url, read_keys(Path(key_file))[0], "GET", None)
    return next((one for one in found["bundles"] if one["name"] == name), None)


def change(url: str, key_file: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Let a server serve a bundle. Returns when requests go to it, which is proven by its canaries first."""
    model: dict[str, Any] = _ask(url, read_keys(Path(key_file))[0], "POST", body)
    return model


def switch(
    url: str, key_file: str, body: Mapping[str, Any], seconds: float, back: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Change a version under load, and watch the requests for so many seconds afterwards.

    `back`: the body that serves the earlier version again; it is sent if requests fail, None: never. Returns `during`
    and `after`, the counts of requests, `seconds` of the change, and `rolled_back`.
    """
    with asking(Path(body["path"]), body["name"]) as asked:
        return asyncio.run(_switch(url, key_file, body, seconds, back, asked))


async def _switch(
    url: str,
    key_file: str,
    body: Mapping[str, Any],
    seconds: float,
    back: Mapping[str, Any] | None,
    asked: Asked,
) -> dict[str, Any]:
    port = _port(url)
    begun = time.perf_counter()
    changing = asyncio.create_task(asyncio.to_thread(change, url, key_file, body))
    during: list[Answered] = []
    if back is not None:  # there is a version that answers meanwhile
        while not changing.done():
            during += await closed_for(port, asked.ask, _CLIENTS, 0.2)
    model = await changing
    took = time.perf_counter() - begun
    after = await closed_for(port, asked.ask, _CLIENTS, seconds)
    failed = failures([*during, *after])
    facts = {
        "manifest": model["manifest"],
        "proof": model["proof"],
        "seconds": took,
        "during": counted(during, took),
        "after": counted(after, seconds),
        "failed": failed,
        "rolled_back": False,
    }
    if failed and back is not None:
        begun = time.perf_counter()
        await asyncio.to_thread(change, url, key_file, back)
        facts |= {"rolled_back": True, "back_seconds": time.perf_counter() - begun}
    return facts


def failures(answers: Sequence[Answered]) -> int:
    """Return how many answers tell of a failure of the version that is served."""
    return sum(one.status not in _EXPECTED for one in answers)


def rehearse(old: str | None, new: str, name: str, seconds: float) -> dict[str, Any]:
    """Try the switch on a server of its own: to the new version, back to the old one, and to the new one again.

    Without an old version there is nothing to switch from: the new one is served and asked.
    """
    with tempfile.TemporaryDirectory(prefix="edgehone-") as folder:
        keys = Path(folder) / "operators"
        keys.touch(mode=0o600)
        keys.write_text(secrets.token_hex(16) + "\n", "utf-8")
        with asking(Path(new), name) as asked:
            return asyncio.run(_rehearse(old, new, name, seconds, keys, asked))


async def _rehearse(
    old: str | None, new: str, name: str, seconds: float, keys: Path, asked: Asked
) -> dict[str, Any]:
    settings = keys.with_name("serve.toml")
    settings.write_text(f"[bundles.{json.dumps(name)}]\npath = {json.dumps(old or new)}\n", "utf-8")
    async with server(None, "--config", str(settings), "--admin-key-file", str(keys)) as started:
        url = f"http://127.0.0.1:{started.port}"
        forth, back = {"path": new, "name": name}, {"path": old, "name": name}
        if old is None:
            answers = await closed_for(started.port, asked.ask, _CLIENTS, seconds)
            return {"first": True, "after": counted(answers, seconds), "failed": failures(answers)}
        facts = await _switch(url, str(keys), forth, seconds, back, asked)
        if not facts["rolled_back"]:
            begun = time.perf_counter()
            await asyncio.to_thread(change, url, str(keys), back)
            facts["back_seconds"] = time.perf_counter() - begun
            again = await closed_for(started.port, asked.ask, _CLIENTS, 0.2)
            await asyncio.to_thread(change, url, str(keys), forth)
            last = await closed_for(started.port, asked.ask, _CLIENTS, 0.2)
            facts["failed"] += failures([*again, *last])
    return {"first": False, **facts}


def _port(url: str) -> int:
    """Return the port of a server on this machine. Raises InputError for another one."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "localhost") or not parts.port:
        raise InputError(
            f"deployment.server is {url!r}", hint="give one on this machine, such as http://127.0.0.1:8080"
        )
    return parts.port


def _ask(url: str, key: str, method: str, body: Mapping[str, Any] | None) -> Any:
    _port(url)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{url.rstrip('/')}/admin/bundles", data=content, headers=headers, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        said = " ".join(error.read(2000).decode("utf-8", "replace").split())
        raise JobError(
            f"{url} refuses with status {error.code}: {said}", hint="the earlier version is served on"
        ) from error
    except (OSError, ValueError) as error:
        raise JobError(
            f"{url} does not answer: {getattr(error, 'reason', error)}",
            hint="see whether `edgehone serve` runs there",
        ) from error
