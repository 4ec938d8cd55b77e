"""A connection of the web server: it joins small writes, and closes soon after the server ends.

Its answers to HTTP/1.0 have no chunks.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edgehone.serve.corked import Corked
from edgehone.serve.unchunked import send_without_chunks

# Seconds that a client has to answer the end of HTTPS. One that keeps a connection open without reading, as clients
# with pools do, never answers, and asyncio would wait for 30 s.
CLOSE_SECONDS = 1.0


class Connection(HttpToolsProtocol):
    """A connection of HTTPS is cut off after `shutdown` if it was answered and its client does not end it."""

    _ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Write to this transport from now on."""
        self._corked = Corked(transport, self.loop)
        super().connection_made(self._corked)

    def shutdown(self) -> None:
        """End the connection, at once or after the answer to the request that was accepted."""
        self._ending = True
        super().shutdown()
        self._cut_off_soon()

    def on_headers_complete(self) -> None:
        """Begin to answer, in the next turn of the event loop."""
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            send_without_chunks(self.cycle)

    def on_response_complete(self) -> None:
        """Send what was written of the answer, and end the connection if the server ends."""
        self._corked.flush()
        super().on_response_complete()
        self._cut_off_soon()

    def _cut_off_soon(self) -> None:
        transport = self.transport
        if self._ending and transport.is_closing() and transport.get_extra_info("sslcontext"):
            self.loop.call_later(CLOSE_SECONDS, transport.abort)
