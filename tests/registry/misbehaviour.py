"""A version in an OCI registry that does as a test says, and what a broken or hostile registry does."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import EdgehoneError
from edgehone.registry.listing import versions
from edgehone.registry.push import push
from edgehone.registry.remote.limits import Limits, shipped
from edgehone.registry.remote.pull import pull_from
from edgehone.registry.remote.push import push_to
from edgehone.registry.session import Registry, Version, open_registry
from edgehone.registry.verify import verify
from tests.registry.bundles import Make, weights
from tests.registry.fake import Fake, fake_registry

# Few attempts with short pauses, and the shipped patience: a busy machine delays the answers of a registry that works.
QUICK = replace(shipped(), attempts=2, first_pause=0.01, segment_bytes=1 << 20)
# Limits of fractions of a second, only for registries that are too slow on purpose: tests that wait for them are short.
IMPATIENT = replace(QUICK, connect=1.0, idle=0.4, answer=0.8, confirm=0.8, least_bytes=4000)


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A registry that does as a test says."""
    with fake_registry() as one:
        yield one


@pytest.fixture
def version(registry: Registry, make: Make) -> Version:
    """A version with a large file, in the registry here."""
    return push(registry, make(weights(5)), name="demo", by="ann").version


@pytest.fixture
def shared(registry: Registry, version: Version, fake: Fake) -> str:
    """The address of the version in the fake registry."""
    url = f"oci://{fake.host}/models/demo:1"
    push_to(registry, version, url, by="ann", limits=QUICK)
    return url


@pytest.fixture
def elsewhere(tmp_path: Path) -> Registry:
    """The registry of another machine."""
    return open_registry(str(tmp_path / "elsewhere"))


def refused(elsewhere: Registry, url: str, out: Path, limits: Limits = QUICK) -> EdgehoneError:
    """Pull what cannot be pulled: an error of exit code 2 with a hint, and nothing half-written."""
    before = set(out.parent.iterdir())
    with pytest.raises(EdgehoneError) as caught:
        pull_from(elsewhere, url, out=out, by="bob", limits=limits)
    assert caught.value.exit_code == 2 and caught.value.hint
    assert set(out.parent.iterdir()) == before
    assert versions(elsewhere) == [] and verify(elsewhere).problems == ()
    return caught.value


def cut_off(handler: Any) -> None:
    """End the connection at once: the handler's files keep a closed socket open."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def the_large(fake: Fake) -> str:
    return max(fake.blobs, key=lambda digest: len(fake.blobs[digest]))


def drip_headers(handler: Any, kind: str) -> bool:
    for _ in range(600):  # a minute, if the client does not give up
        handler.wfile.write(b"X")
        handler.wfile.flush()
        time.sleep(0.1)
    return True


def drip_body(handler: Any, kind: str) -> bool:
    if kind != "blob":
        return False
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(600):  # a minute, if the client does not give up
        handler.wfile.write(b"X")
        handler.wfile.flush()
        time.sleep(0.1)
    return True


def silent(handler: Any, kind: str) -> bool:
    while handler.connection.recv(1 << 16):  # until the client gives up
        pass
    return True


def not_http(handler: Any, kind: str) -> bool:
    handler.wfile.write(b"\x00\x01garbage\r\n\r\n" * 10)
    handler.close_connection = True
    return True


def html(handler: Any, kind: str) -> bool:
    handler.answer(200, b"<html>Please log in to the hotel's network</html>")
    return True


def endless(handler: Any, kind: str) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 40))
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b"{" * 65536)
    return True


def failing(handler: Any, kind: str) -> bool:
    handler.answer(503, b'{"errors":[{"code":"UNAVAILABLE","message":"the disk is full"}]}')
    return True


def another_manifest(handler: Any, kind: str) -> bool:
    if kind != "manifest":
        return False
    handler.answer(200, b'{"schemaVersion":2}', Docker_Content_Digest="sha256:" + "0" * 64)
    return True


def forbidden(handler: Any, kind: str) -> bool:
    handler.answer(403)
    return True


def flipped(handler: Any, kind: str) -> bool:
    blobs = handler.server.blobs
    if kind != "blob" or not (data := blobs.get(handler.path.rpartition("/")[2])):
        return False
    changed = bytearray(data)
    changed[len(changed) // 2] ^= 1
    handler.answer(200, bytes(changed))
    return True


def too_long(handler: Any, kind: str) -> bool:
    data = handler.server.blobs.get(handler.path.rpartition("/")[2])
    if kind != "blob" or data is None:
        return False
    handler.answer(200, data + b"more")
    return True


def too_short(handler: Any, kind: str) -> bool:
    data = handler.server.blobs.get(handler.path.rpartition("/")[2])
    if kind != "blob" or data is None:
        return False
    handler.answer(200, data[:-1])
    return True


def lost_blobs(handler: Any, kind: str) -> bool:
    if kind == "blob":
        handler.answer(404)
    return kind == "blob"
