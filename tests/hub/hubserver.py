"""A hub on this machine: the two end points that downloads use, with ranges, redirects, and faults on request."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


def git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass
class Hub:
    """The repository acme/tiny, and what goes wrong. `requests` holds path and range of each request."""

    files: Mapping[str, bytes]
    break_after: list[int] = field(default_factory=list)  # bytes of the next answers, which then end
    change: Callable[[str, bytes], bytes] = lambda name, content: content  # what is sent instead
    state: Callable[[dict[str, Any]], None] = lambda entry: None  # changes an entry of the listing
    ranges: bool = True
    redirect: str | None = None
    status: int = 200
    commit: str = COMMIT
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    address: str = ""

    def listing(self) -> dict[str, Any]:
        entries = []
        for name, content in self.files.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git_digest(content)}
            if name.endswith((".safetensors", ".gguf")):
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            self.state(entry)
            entries.append(entry)
        return {"sha": self.commit, "siblings": entries}


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((path, self.headers.get("Range"), self.headers.get("Authorization")))
            if hub.status != 200:
                self._send(hub.status, b"no")
            elif path.startswith("/api/models/acme/tiny/revision/"):
                self._send(200, json.dumps(hub.listing()).encode())
            elif path.startswith(f"/acme/tiny/resolve/{hub.commit}/"):
                name = path.removeprefix(f"/acme/tiny/resolve/{hub.commit}/")
                if hub.redirect:
                    self.send_response(302)
                    self.send_header("Location", f"{hub.redirect}/blob/{name}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    self._file(name)
            elif path.startswith("/blob/"):
                self._file(path.removeprefix("/blob/"))
            else:
                self._send(404, b"no such thing")

        def _file(self, name: str) -> None:
            content = hub.change(name, hub.files[name])
            asked = self.headers.get("Range") if hub.ranges else None
            if asked is None:
                self._send(200, content)
                return
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            told = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, content[start:], {"Content-Range": told})

        def _send(self, status: int, body: bytes, headers: Mapping[str, str] = {}) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if "/api/" not in self.path and hub.break_after:
                self.wfile.write(body[: hub.break_after.pop(0)])
                self.close_connection = True
                return
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
