"""Walks the protocol buffers wire format without a schema: fields in order, long ones as places, not as bytes.

Source: protobuf.dev, "Encoding". What is not asked for is stepped over, so payloads are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIELD_LIMIT = 5_000_000  # 100,000 nodes have about 1 million, read in a second; more is a crafted file
TEXT_LIMIT = 65_536  # bytes of one name
_TEXTS_LIMIT = 128 * 1024 * 1024  # bytes of all names
_FIXED = {FIXED64: 8, FIXED32: 4}


class WireError(ValueError):
    """The bytes break the format: what, and at which byte."""


class Wire:
    """A message in `data` (a mapped file, or bytes), walked with a budget of fields for all of it."""

    def __init__(self, data: mmap | bytes, limit: int = FIELD_LIMIT) -> None:
        self.data = data
        self._left = limit
        self._texts_left = _TEXTS_LIMIT

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """(number, wire type, value, 0) of each number; (number, BYTES, start, end) of what has a length.

        Raises WireError where a field leaves its message, and where there are more than the budget.
        """
        position = start
        while position < end:
            self._left -= 1
            if self._left < 0:
                raise WireError(f"byte {position}: more fields than any genuine model has")
            tag, value_at = self._varint(position, end)
            number, kind = tag >> 3, tag & 7
            if not 1 <= number < 1 << 29:
                raise WireError(f"byte {position}: {number} is no field number")
            if kind == VARINT:
                value, position = self._varint(value_at, end)
                yield number, kind, value, 0
            elif kind == BYTES:
                length, inner = self._varint(value_at, end)
                if length > end - inner:
                    raise WireError(
                        f"byte {position}: field {number} has a length of {length} bytes, "
                        f"its message {end - inner} more"
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
                raise WireError(f"byte {position}: wire type {kind} is not used in such a file")

    def text(self, start: int, end: int) -> str:
        """A string; bytes that are not UTF-8 are shown as escapes. WireError above TEXT_LIMIT bytes."""
        self._texts_left -= end - start
        if end - start > TEXT_LIMIT or self._texts_left < 0:
            raise WireError(
                f"byte {start}: a name of {end - start} bytes, or more names than any genuine model has"
            )
        return self.data[start:end].decode("utf-8", "backslashreplace")

    def integers(self, kind: int, value: int, end: int) -> Iterator[int]:
        """The signed 64-bit integers of one occurrence of a repeated field, packed or not."""
        if kind == BYTES:
            position = value
            while position < end:
                self._left -= 1
                if self._left < 0:
                    raise WireError(f"byte {position}: more numbers than any genuine model has")
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
        what = "is cut off" if end - position < 10 else "has more than 10 bytes"
        raise WireError(f"byte {position}: a number {what}")


def signed(value: int) -> int:
    """An int64 as protobuf stores it, two's complement."""
    return value - (1 << 64) if value >> 63 else value
