"""Messages with arrays through a socket, for the engines of graphs.

A message is `HEAD`, a JSON object, and the bytes of its arrays one after another, in C order and little-endian. The
object's `tensors` says what they are: [name, dtype as numpy names it, shape] of each. The other side is
`serve.infer.frames`.
"""

from __future__ import annotations

import json
import math
import select
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The number of bytes of the JSON object, and of all arrays.
HEAD = struct.Struct("<IQ")
_PART = 1 << 20


def arrays(tensors: Sequence[Sequence[Any]], body: bytes | bytearray | memoryview) -> dict[str, NDArray[Any]]:
    """Return the arrays of a message, without copying them unless they are not aligned."""
    import numpy as np

    found, at = {}, 0
    for name, kind, shape in tensors:
        dtype = np.dtype(kind)
        count = math.prod(shape)
        array = np.frombuffer(body, dtype, count, at).reshape(shape)
        found[name] = np.require(array, requirements="A")
        at += count * dtype.itemsize
    return found


def described(values: Mapping[str, NDArray[Any]]) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return name, dtype and shape of each array, as a message has them."""
    return [(name, array.dtype.name, array.shape) for name, array in values.items()]


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
        self.ended = False

    def send(self, message: Mapping[str, Any], values: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Send a message with arrays. A parent that has gone is not an error: this process ends with it."""
        import numpy as np

        values = {name: np.asarray(array, order="C") for name, array in (values or {}).items()}
        header = json.dumps({**message, "tensors": described(values)}, separators=(",", ":")).encode()
        head = HEAD.pack(len(header), sum(array.nbytes for array in values.values())) + header
        parts = [memoryview(array.reshape(-1).view(np.uint8)) for array in values.values() if array.nbytes]  # type: ignore[arg-type]
        try:
            with self._sending:
                if sum(map(len, parts)) < _PART:
                    self._socket.sendall(head + b"".join(parts))
                    return
                for part in [memoryview(head), *parts]:
                    self._socket.sendall(part)
        except OSError:
            return

    def take(self, seconds: float | None) -> tuple[dict[str, Any], bytearray] | None:
        """Return the next message and the bytes of its arrays.

        None if none came within some seconds (None: wait for one), or after the last one; `ended` is true then.
        """
        while (message := self._whole()) is None and not self.ended:
            if seconds is not None and not self._poll.poll(seconds * 1000):
                return None
            try:
                got = self._socket.recv(_PART)
            except OSError:
                got = b""  # the parent has gone
            self._buffer += got
            self.ended = not got
        return message

    def _whole(self) -> tuple[dict[str, Any], bytearray] | None:
        """Remove the first message from what has been received, and return it if it is complete."""
        if len(self._buffer) < HEAD.size:
            return None
        header, body = HEAD.unpack_from(self._buffer)
        begin, end = HEAD.size + header, HEAD.size + header + body
        if len(self._buffer) < end:
            return None
        message = json.loads(self._buffer[HEAD.size : begin])
        data = self._buffer[begin:end]
        del self._buffer[:end]
        return message, data
