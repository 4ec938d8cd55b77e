"""Answers of unknown length to clients of HTTP/1.0, which has no chunks: they end with the connection.

uvicorn sends them in chunks, which RFC 9112 (6.1) forbids: such a client takes their sizes for a part of the text.
"""

from __future__ import annotations

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def send_without_chunks(cycle: RequestResponseCycle) -> None:
    """Send the answer as it comes if its length is not stated. uvicorn closes the connection of HTTP/1.0 after it."""
    send, unknown_length = cycle.send, False

    async def unchunked(message: ASGISendEvent) -> None:
        nonlocal unknown_length
        if message["type"] == "http.response.start":
            unknown_length = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            if unknown_length:
                cycle.chunked_encoding = False
        elif message["type"] == "http.response.body" and unknown_length:
            cycle.expected_content_length = len(
                message.get("body", b"")
            )  # uvicorn sends no more than it expects
        await send(message)

    cycle.send = unchunked  # type: ignore[method-assign]
