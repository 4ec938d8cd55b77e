"""The gRPC server: bind a port, serve, and let accepted requests end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import grpc

from edgehone.core.errors import InputError
from edgehone.serve.infer.grpc.service import InferenceService
from edgehone.serve.infer.lookup import LIMIT
from edgehone.serve.live_models import Models
from edgehone.serve.watching import Watching

# Seconds for which accepted requests may go on when the server ends.
_DRAIN_SECONDS = 60.0


class GrpcServer:
    """A server of the Open Inference Protocol. Make it inside of the event loop that it shall run in."""

    def __init__(self, models: Models, watching: Watching, keys: Sequence[str]) -> None:
        self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", LIMIT), ("grpc.so_reuseport", 0)]
        )
        self._server.add_generic_rpc_handlers((InferenceService(models, watching, keys).handler(),))

    async def start(self, host: str, port: int, certificate: Path | None, private_key: Path | None) -> int:
        """Listen, and return the port. Raises InputError if the address cannot be used."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if certificate and private_key:
                pair = (private_key.read_bytes(), certificate.read_bytes())
                bound: int = self._server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
            else:
                bound = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise InputError(
                f"cannot listen on {host} port {port} for gRPC: {error}",
                hint="give another --grpc-port (0: any free one) or --host",
            ) from error
        await self._server.start()
        return bound

    async def end(self) -> None:
        """Accept no further requests, and let the accepted ones end."""
        await self._server.stop(_DRAIN_SECONDS)
