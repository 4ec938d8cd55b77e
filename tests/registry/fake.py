"""An OCI registry in memory that misbehaves on request, for tests of what docker-registry does not do.

It follows the OCI distribution specification 1.1, with the referrers API, ranges and resumable uploads. A test sets
`misbehave(handler, kind)`, which is called for each request with what is asked for ("manifest", "blob", "upload", …);
if it returns True it has answered.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PATH = re.compile(r"/v2/(?P<repo>[a-z0-9/._-]+?)/(?P<kind>manifests|blobs|referrers|tags)/(?P<what>.*)")


class Fake(ThreadingHTTPServer):
    """The registry's state: manifests by tag and digest, blobs, unfinished uploads, and a log of requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.log: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.misbehave: Callable[[Any, str], bool] = lambda handler, kind: False
        self.with_referrers = True

    @property
    def host(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet of connections that a test broke."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Fake

    def log_message(self, format: str, *args: Any) -> None:
        self.server.log.append(f"{self.command} {self.path}")

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a complete answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.get("Content_Length", str(len(body))))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        """Read the request's body."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_GET(self) -> None:
        self.server.headers.append(dict(self.headers))
        hit = _PATH.fullmatch(self.path.partition("?")[0])
        kind = hit["kind"].rstrip("s") if hit else "other"
        if hit and hit["what"].startswith("uploads/"):
            kind = "upload"
        if self.server.misbehave(self, kind):
            return
        if hit is None:
            self.answer(404)
        elif kind == "manifest":
            self._get_manifest(hit["what"])
        elif kind == "upload":
            self._upload_state(hit["what"].removeprefix("uploads/"))
        elif kind == "blob":
            self._get_blob(hit["what"])
        elif kind == "referrer" and self.server.with_referrers:
            self._get_referrers(hit["what"])
        else:
            self.answer(404)

    do_HEAD = do_GET

    def _get_manifest(self, what: str) -> None:
        data = self.server.manifests.get(what)
        if data is None:
            self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        else:
            self.answer(200, data, Docker_Content_Digest=digest(data))

    def _get_blob(self, what: str) -> None:
        data = self.server.blobs.get(what)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if data is None:
            self.answer(404)
        elif asked:
            start, end = int(asked[1]), int(asked[2]) + 1
            self.answer(206, data[start:end], Content_Range=f"bytes {start}-{end - 1}/{len(data)}")
        else:
            self.answer(200, data)

    def _get_referrers(self, subject: str) -> None:
        found = []
        for name, data in self.server.manifests.items():
            content = json.loads(data)
            if name.startswith("sha256:") and content.get("subject", {}).get("digest") == subject:
                found.append({"digest": name, "size": len(data), "artifactType": content["artifactType"]})
        self.answer(200, json.dumps({"schemaVersion": 2, "manifests": found}).encode())

    def _upload_state(self, name: str) -> None:
        data = self.server.uploads.get(name)
        if data is None:
            self.answer(404)
        else:
            self.answer(204, Range=f"0-{len(data) - 1}", Location=self.path)

    def do_POST(self) -> None:
        self.server.headers.append(dict(self.headers))
        self.body()
        if self.server.misbehave(self, "begin"):
            return
        name = f"upload{len(self.server.uploads)}"
        self.server.uploads[name] = bytearray()
        self.answer(202, Location=f"{self.path.partition('?')[0]}{name}")

    def do_PATCH(self) -> None:
        if self.server.misbehave(self, "patch"):
            return
        upload = self.server.uploads[self.path.rpartition("/")[2]]
        start = int(self.headers["Content-Range"].partition("-")[0])
        if start != len(upload):
            self.answer(416)
            return
        upload += self.body()
        self.answer(202, Location=self.path, Range=f"0-{len(upload) - 1}")

    def do_PUT(self) -> None:
        data = self.body()
        if self.server.misbehave(self, "put"):
            return
        path, _, query = self.path.partition("?")
        if query:
            upload = bytes(self.server.uploads.pop(path.rpartition("/")[2]))
            expected = query.removeprefix("digest=").replace("%3A", ":")
            if digest(upload) != expected:
                self.answer(400)
                return
            self.server.blobs[expected] = upload
            self.answer(201)
            return
        self.server.manifests[path.rpartition("/")[2]] = self.server.manifests[digest(data)] = data
        knows = self.server.with_referrers and b'"subject"' in data
        self.answer(201, b"", **({"OCI_Subject": "yes"} if knows else {}))


def digest(data: bytes) -> str:
    """Return the digest of a blob."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextmanager
def fake_registry() -> Iterator[Fake]:
    """Run one."""
    server = Fake()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.misbehave = lambda handler, kind: False
        with suppress(OSError):
            server.shutdown()
        server.server_close()
