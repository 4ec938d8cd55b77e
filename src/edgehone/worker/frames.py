"""Messages with arrays through a socket, for the engines of graphs.

A message is `HEAD`, a JSON object, and the bytes of its arrays one after another, in C order and little-endian. The
object's `tensors` says what they are: [name, dtype as numpy names it, shape] of each. Requests of one form have the
same object, which is read once. The other side is `serve.infer.frames`.
"""

from __future__ import annotations

import functools
import json
import math
import select
import socket
import struct
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The number of bytes of the JSON object and of all arrays, and the number of the request (0: of none).
HEAD = struct.Struct("<IQQ")
_PART = 1 << 20
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Received(NamedTuple):
    """A message: the number of its request (0: of none), what it says, which must not be changed, and its arrays."""

    number: int
    said: Mapping[str, Any]
    body: bytearray

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays, without copying them unless they are not aligned."""
        import numpy as np

        found, at = {}, 0
        for name, kind, shape in self.said["tensors"]:
            dtype = _dtype(kind)
            count = math.prod(shape)
            array = np.frombuffer(self.body, dtype, count, at).reshape(shape)
            found[name] = array if array.flags.aligned else array.copy()
            at += count * dtype.itemsize
        return found


@functools.cache
def _dtype(name: str) -> Any:
    import numpy as np

    return np.dtype(name)


@functools.cache
def _name(dtype: Any) -> str:
    return str(dtype.name)  # numpy puts it together at each call


@functools.lru_cache(maxsize=64)
def _parsed(header: bytes) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(header)
    return found


def _header(message: Mapping[str, Any], tensors: tuple[tuple[str, Any, tuple[int, ...]], ...]) -> bytes:
    said = _encode(message)
    rest = f",{said[1:]}" if message else "}"
    return f'{{"tensors":{_described(tensors)}{rest}'.encode()


@functools.lru_cache(maxsize=64)
def _described(tensors: tuple[tuple[str, Any, tuple[int, ...]], ...]) -> str:
    """Return names, types and shapes of arrays as JSON. Those of answers of one form are the same."""
    return _encode([(name, _name(dtype), shape) for name, dtype, shape in tensors])


class Frames:
    """The engine's end of the socket with the file descriptor `channel` (worker side).

    Several threads may send at the same time, and one receive.
    """

    def __init__(self, channel: int) -> None:
        self._socket = socket.socket(fileno=channel)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._sending = threading.Lock()
        self._buffer = bytearray()
        # Received into one place: the system would have to find and clear memory for each new one of this size.
        self._place = memoryview(bytearray(_PART))
        self.ended = False

    def send(
        self, message: Mapping[str, Any], values: Mapping[str, NDArray[Any]] | None = None, number: int = 0
    ) -> None:
        """Send a message with arrays. A parent that has gone is not an error: this process ends with it."""
        import numpy as np

        arrays = [np.asarray(array, order="C") for array in (values or {}).values()]
        tensors = tuple(
            (name, array.dtype, array.shape) for name, array in zip(values or (), arrays, strict=True)
        )
        header = _header(message, tensors)
        head = HEAD.pack(len(header), sum(array.nbytes for array in arrays), number) + header
        parts = [memoryview(array.reshape(-1).view(np.uint8)) for array in arrays if array.nbytes]  # type: ignore[arg-type]
        try:
            with self._sending:
                if sum(map(len, parts)) < _PART:
                    self._socket.sendall(head + b"".join(parts))
                    return
                for part in [memoryview(head), *parts]:
                    self._socket.sendall(part)
        except OSError:
            return

    def take(self, seconds: float | None) -> Received | None:
        """Return the next message.

        None if none came within some seconds (None: wait for one), or after the last one; `ended` is true then.
        """
        while (message := self._whole()) is None and not self.ended:
            if seconds is not None and not self._poll.poll(seconds * 1000):
                return None
            try:
                size = self._socket.recv_into(self._place)
            except OSError:
                size = 0  # the parent has gone
            self._buffer += self._place[:size]
            self.ended = not size
        return message

    def _whole(self) -> Received | None:
        """Remove the first message from what has been received, and return it if it is complete."""
        if len(self._buffer) < HEAD.size:
            return None
        header, body, number = HEAD.unpack_from(self._buffer)
        begin, end = HEAD.size + header, HEAD.size + header + body
        if len(self._buffer) < end:
            return None
        said = _parsed(bytes(self._buffer[HEAD.size : begin]))
        data = self._buffer[begin:end]
        del self._buffer[:end]
        return Received(number, said, data)
