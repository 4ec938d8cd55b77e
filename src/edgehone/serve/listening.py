"""Where a server listens: the address, the keys of clients, the certificate. It is checked before any engine starts."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from edgehone.core.errors import InputError

BACKLOG = 2048


@dataclass(frozen=True)
class Listening:
    """Where the server listens, and who may ask. `grpc_port` is None without gRPC.

    `take_over`: connections are accepted only once every model is ready, and another server of the same user may have
    the port until then.
    """

    host: str
    port: int
    keys: tuple[str, ...] = ()
    certificate: Path | None = None
    private_key: Path | None = None
    grpc_port: int | None = None
    take_over: bool = False

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def check_certificate(certificate: Path, private_key: Path) -> None:
    """Raise InputError if the files are not a certificate and its key."""
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{certificate} and {private_key} are not a certificate and its private key: {reason}",
            hint="give PEM files that belong together: --tls-cert and --tls-key",
        ) from error


def bind(listening: Listening) -> socket.socket:
    """Return a socket that listens; one that is only bound, to take a port over. Raises InputError if that fails."""
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    # asyncio sends small packets at once (TCP_NODELAY) only for sockets that name their protocol; otherwise an answer
    # of two packets waits 40 ms for the client's acknowledgement of the first.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if listening.take_over:
            # The kernel gives connections to sockets that listen, which this one does once it is ready.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((listening.host, listening.port))
        if not listening.take_over:
            bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise InputError(
            f"cannot listen on {listening.host} port {listening.port}: {error.strerror or error}",
            hint="give another --port (0: any free one) or --host",
        ) from error
    bound.setblocking(False)
    return bound
