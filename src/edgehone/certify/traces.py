"""The forms of a piece of calibration data in a file: text, and the ids that a tokenizer makes of it."""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

# A text of fewer bytes, or fewer ids, may be in a file by chance.
LEAST_BYTES, LEAST_IDS = 16, 8
_WHITE = b" \t\r\n"


@dataclass(frozen=True)
class Trace:
    """A piece of the data: how a message shows it, and the bytes by which it is recognized.

    `forms` are looked for in a file as it is, `lists` in the file without its white space, since JSON may have any.
    """

    shown: str
    forms: tuple[bytes, ...]
    lists: tuple[bytes, ...] = ()


def of_bytes(piece: bytes) -> Trace:
    """Return the trace of a text or of a part of an array: plain, in UTF-16, and in base64 at any offset."""
    return Trace(repr(piece[:40]), tuple(one for one in _forms(piece) if len(one) >= LEAST_BYTES))


def of_text(text: str) -> Trace:
    """Return the trace of a whole text, also as JSON writes it."""
    plain, escaped = of_bytes(text.encode()), json.dumps(text)[1:-1].encode()
    return Trace(plain.shown, tuple(dict.fromkeys((*plain.forms, escaped))))


def of_ids(ids: Sequence[int]) -> Trace:
    """Return the trace of consecutive ids: as little-endian integers of 16, 32 and 64 bits, and as a list in JSON."""
    forms = [
        array(kind, ids) for kind, most in (("H", 1 << 16), ("i", 1 << 31), ("q", 1 << 63)) if max(ids) < most
    ]
    for one in forms:
        if _IS_BIG_ENDIAN:
            one.byteswap()
    return Trace(f"the token ids {list(ids)[:6]}…", tuple(one.tobytes() for one in forms), (_list(ids),))


def found(content: bytes, traces: Iterable[Trace]) -> Iterator[Trace]:
    """Yield the traces that are in the content of a file."""
    compact: bytes | None = None
    for trace in traces:
        if any(form in content for form in trace.forms):
            yield trace
        elif trace.lists:
            compact = content.translate(None, _WHITE) if compact is None else compact
            if any(form in compact for form in trace.lists):
                yield trace


_IS_BIG_ENDIAN = array("H", [1]).tobytes() == b"\0\1"


def _list(ids: Sequence[int]) -> bytes:
    return ",".join(map(str, ids)).encode()


def _forms(piece: bytes) -> Iterator[bytes]:
    yield piece
    # A piece of a text may begin or end within a character.
    yield piece.decode("utf-8", "ignore").encode("utf-16-le")
    for offset in range(3):
        # Whole groups of three bytes from there on: their letters do not depend on what stands around.
        groups = piece[offset : offset + (len(piece) - offset) // 3 * 3]
        yield base64.b64encode(groups)
