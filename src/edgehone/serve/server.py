"""Run the web server: listen, serve, and drain when the process is told to end."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from edgehone.core.errors import InputError
from edgehone.serve.app import build
from edgehone.serve.model import Model
from edgehone.serve.models import model_of
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


def read_keys(path: Path) -> tuple[str, ...]:
    """Return the API keys in a file, one a line; lines that start with # are comments.

    Raises InputError for a file that is missing, empty, or readable by others.
    """
    try:
        mode = path.stat().st_mode
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the file of API keys {path} cannot be read: {error}",
            hint=f"(umask 077; openssl rand -hex 32 > {path})",
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(
            f"the file of API keys {path} can be read by others (mode {stat.S_IMODE(mode):o})",
            hint=f"chmod 600 {path}",
        )
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise InputError(
            f"the file of API keys {path} has no key", hint=f"(umask 077; openssl rand -hex 32 > {path})"
        )
    return keys


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
    bound = socket.socket(family, socket.SOCK_STREAM)
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
    say: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C. Requests that were accepted are then answered, and no further ones accepted."""
    models: Mapping[str, Model] = {one.name: model_of(one, say) for one in served}
    config = uvicorn.Config(
        build(models, listening.keys),
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
