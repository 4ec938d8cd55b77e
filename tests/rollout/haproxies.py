"""A real HAProxy before two servers of the null backend."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgehone.rollout.drive.haproxy import Lost, ask

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
needs_haproxy = pytest.mark.skipif(
    HAPROXY is None, reason="HAProxy is not installed (tools/system_packages.sh)"
)

_CONFIG = """
global
  stats socket {folder}/admin.sock level admin
  maxconn 200
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
frontend f
  bind 127.0.0.1:{port}
  default_backend models
backend models
  balance roundrobin
  server blue {blue} weight 200
  server green {green} weight 0
"""


@dataclass
class HAProxy:
    """A running HAProxy: its URL, and its admin socket."""

    url: str
    socket: Path
    process: subprocess.Popen[bytes]

    def weights(self) -> tuple[int, int]:
        """Return the weights of blue and green."""
        blue, green = (
            int(ask(self.socket, f"get weight models/{one}").split()[0]) for one in ("blue", "green")
        )
        return blue, green


@contextmanager
def haproxy(folder: Path, blue: str, green: str) -> Iterator[HAProxy]:
    """Run HAProxy before two servers, whose addresses are HOST:PORT."""
    assert HAPROXY
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "haproxy.cfg"
    config.write_text(_CONFIG.format(folder=folder, port=port, blue=blue, green=green))
    process = subprocess.Popen([HAPROXY, "-f", str(config), "-db"], stderr=subprocess.DEVNULL)
    try:
        begun = time.monotonic()
        while True:
            with suppress(Lost):
                ask(folder / "admin.sock", "show info")
                break
            assert process.poll() is None and time.monotonic() - begun < 60
            time.sleep(0.05)
        yield HAProxy(f"http://127.0.0.1:{port}", folder / "admin.sock", process)
    finally:
        process.kill()
        process.wait()
