"""The server's end of the socket of a graph's engine. `worker.frames` defines the messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from edgehone.core.errors import JobError
from edgehone.serve.infer.tensor import Tensor, bytes_of
from edgehone.worker.frames import HEAD

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Frames(asyncio.Protocol):
    """Calls `received` with each message: the number of its request (0: of none), what it says, and its tensors.

    `lost` is done when the socket is closed.
    """

    def __init__(self, received: Callable[[int, dict[str, Any], list[Tensor]], None]) -> None:
        self._received = received
        self._buffer = bytearray()  # an incomplete message, which cannot be read before it has so many bytes
        self._needed = HEAD.size
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Use this transport from now on."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """The engine has closed the socket, or was killed."""
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Receive messages, and keep what is left of an incomplete one."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
        rest = memoryview(data)
        while (needed := _size(rest)) <= len(rest):
            self._receive(rest[:needed])
            rest = rest[needed:]
        self._buffer, self._needed = bytearray(rest), needed

    def _receive(self, frame: memoryview) -> None:
        header, _, number = HEAD.unpack_from(frame)
        begin = HEAD.size + header
        message = _decode(frame[HEAD.size : begin])
        self._received(number, message, _tensors(message["tensors"], frame[begin:]))

    def send(self, message: Mapping[str, Any], tensors: Sequence[Tensor] = (), number: int = 0) -> None:
        """Send a message. Raises JobError if the engine has ended."""
        if self._transport is None or self._transport.is_closing():
            raise JobError("the engine has ended")
        described = [(one.name, one.dtype, one.shape) for one in tensors]
        header = _encode({**message, "tensors": described})
        head = HEAD.pack(len(header), sum(len(one.data) for one in tensors), number) + header
        self._transport.writelines([head, *(one.data for one in tensors)])

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.abort()


def _size(data: memoryview) -> int:
    """Return the size of the message that begins here; that of `HEAD` if that is not complete."""
    if len(data) < HEAD.size:
        return HEAD.size
    header, body, _ = HEAD.unpack_from(data)
    return HEAD.size + int(header) + int(body)


def _tensors(described: Sequence[Any], body: memoryview) -> list[Tensor]:
    found, at = [], 0
    for name, dtype, shape in described:
        size = bytes_of(dtype, tuple(shape))
        found.append(Tensor(name, dtype, tuple(shape), body[at : at + size]))
        at += size
    return found
