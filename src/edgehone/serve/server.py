"""Run the web server: listen, serve, and drain when the process is told to end."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from edgehone.core.errors import InputError
from edgehone.serve.admin import Admin, AdminRules
from edgehone.serve.app import build
from edgehone.serve.live_models import Models
from edgehone.serve.served import Served

# Bytes of a request's first line and headers.
_HEADERS_LIMIT = 32 << 10
_IDLE_SECONDS = 75


@dataclass(frozen=True)
class Listening:
    """Where the server listens, and who may ask."""

    host: str
    port: int
    keys: tuple[str, ...] = ()
    certificate: Path | None = None
    private_key: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True)
class Running:
    """After how many idle seconds models are unloaded (None: never), and by whom they can be changed (None: nobody)."""

    unload_after: float | None
    admin: AdminRules | None


def check_certificate(certificate: Path, private_key: Path) -> None:
    """Raise InputError if the files are not a certificate and its key."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{certificate} and {private_key} are not a certificate and its private key: {reason}",
            hint="give PEM files that belong together: --tls-cert and --tls-key",
        ) from error


def bind(listening: Listening) -> socket.socket:
    """Return a socket that listens. Raises InputError if the address cannot be used."""
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    # asyncio sends small packets at once (TCP_NODELAY) only for sockets that name their protocol; otherwise an answer
    # of two packets waits 40 ms for the client's acknowledgement of the first.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((listening.host, listening.port))
        bound.listen(2048)
    except OSError as error:
        bound.close()
        raise InputError(
            f"cannot listen on {listening.host} port {listening.port}: {error.strerror or error}",
            hint="give another --port (0: any free one) or --host",
        ) from error
    bound.setblocking(False)
    return bound


def serve(
    served: Sequence[Served],
    listening: Listening,
    bound: socket.socket,
    running: Running,
    say: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C. Requests that were accepted are then answered, and no further ones accepted."""
    models = Models(running.unload_after, say)
    admin = Admin(models, running.admin, say) if running.admin else None
    config = uvicorn.Config(
        build(models, served, listening.keys, admin),
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=_HEADERS_LIMIT,
        timeout_keep_alive=_IDLE_SECONDS,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.private_key,
    )
    asyncio.run(_Server(config).serve(sockets=[bound]))


class _Server(uvicorn.Server):
    """uvicorn's server, which ends with exit code 0 after a signal that asks for it, and at once after a second one."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain; uvicorn's own method also keeps the signal, and raises it again at the end."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
