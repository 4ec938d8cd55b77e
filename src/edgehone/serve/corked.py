"""A transport that writes together what one turn of the event loop writes.

A server writes an answer in parts: its head, its body, the end of a stream. Each would be a call of the system, and
would wake the client.
"""

from __future__ import annotations

import asyncio
from typing import Any

# From so many bytes on a part is written at once, so that it is not copied.
_LARGE = 64 << 10


class Corked(asyncio.Transport):
    """What uvicorn uses of a transport, over another one."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        if transport.get_extra_info("sslcontext") is None:
            # uvloop keeps less than this until the end of the turn, when the server has done what else it has to do.
            transport.set_write_buffer_limits(high=0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write at the end of this turn, after all that was written before."""
        if len(data) >= _LARGE:
            self.flush()
            self._transport.write(data)
            return
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(bytes(data))

    def close(self) -> None:
        """Close when all is written."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._parts = []
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or being closed."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Receive nothing."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection to another protocol."""
        self.flush()
        self._transport.set_protocol(protocol)

    def flush(self) -> None:
        """Write now what was kept for the end of the turn."""
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
