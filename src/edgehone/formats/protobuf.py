"""Iterate over the fields of protocol buffers messages without a schema.

Source: protobuf.dev, "Encoding". Fields with a length are returned as byte ranges, so that payloads are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIELD_LIMIT = 5_000_000  # fields in one file; 100,000 nodes have about 1 million, read in a second
TEXT_LIMIT = 65_536  # bytes of one string
_TEXTS_LIMIT = 128 * 1024 * 1024  # bytes of all strings in one file
_FIXED = {FIXED64: 8, FIXED32: 4}


class WireError(ValueError):
    """A violation of the wire format. The message says which, and at which byte."""


class Wire:
    """A file or message in `data`. `limit` is the number of fields that may be read from it in total."""

    def __init__(self, data: mmap | bytes, limit: int = FIELD_LIMIT) -> None:
        self.data = data
        self._left = limit
        self._texts_left = _TEXTS_LIMIT

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield the fields of the message in bytes `start` to `end`.

        A number is yielded as (field number, wire type, value, 0), a field with a length as (field number, BYTES,
        start, end). Raises WireError if a field extends past its message, or the limit of fields is exceeded.
        """
        position = start
        while position < end:
            self._left -= 1
            if self._left < 0:
                raise WireError(f"byte {position}: the file has more fields than the limit")
            tag, value_at = self._varint(position, end)
            number, kind = tag >> 3, tag & 7
            if not 1 <= number < 1 << 29:
                raise WireError(f"byte {position}: {number} is not a field number")
            if kind == VARINT:
                value, position = self._varint(value_at, end)
                yield number, kind, value, 0
            elif kind == BYTES:
                length, inner = self._varint(value_at, end)
                if length > end - inner:
                    raise WireError(
                        f"byte {position}: field {number} has a length of {length} bytes, "
                        f"but its message ends after {end - inner}"
                    )
                position = inner + length
                yield number, kind, inner, position
            elif kind in _FIXED:
                if _FIXED[kind] > end - value_at:
                    raise WireError(f"byte {position}: field {number} is cut off")
                raw = self.data[value_at : value_at + _FIXED[kind]]
                position = value_at + _FIXED[kind]
                yield number, kind, int.from_bytes(raw, "little"), 0
            else:
                raise WireError(f"byte {position}: wire type {kind} is not supported")

    def text(self, start: int, end: int) -> str:
        """Return a string, invalid UTF-8 as backslash escapes. Raises WireError above TEXT_LIMIT bytes."""
        self._texts_left -= end - start
        if end - start > TEXT_LIMIT or self._texts_left < 0:
            raise WireError(
                f"byte {start}: a string of {end - start} bytes exceeds the limit of {TEXT_LIMIT}, "
                f"or all strings exceed {_TEXTS_LIMIT}"
            )
        return self.data[start:end].decode("utf-8", "backslashreplace")

    def integers(self, kind: int, value: int, end: int) -> Iterator[int]:
        """Yield the signed 64-bit integers of one occurrence of a repeated field, packed or not."""
        if kind == BYTES:
            position = value
            while position < end:
                self._left -= 1
                if self._left < 0:
                    raise WireError(f"byte {position}: the file has more numbers than the limit")
                number, position = self._varint(position, end)
                yield signed(number)
        else:
            yield signed(value)

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = shift = 0
        for at in range(position, min(end, position + 10)):
            byte = self.data[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at + 1
            shift += 7
        problem = "is cut off" if end - position < 10 else "has more than 10 bytes"
        raise WireError(f"byte {position}: a number {problem}")


def signed(value: int) -> int:
    """Return the int64 that a 64-bit two's complement number stands for."""
    return value - (1 << 64) if value >> 63 else value
