"""The files in an input of the type BYTES: in base64 in JSON, or with their lengths in the binary form."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence

import msgspec

from edgehone.serve.http import Refused

BYTES = "BYTES"
# Files of one request: more pictures are a batch that no graph takes at once.
MOST = 64
_LENGTH = struct.Struct("<I")
_decoder = msgspec.json.Decoder(list[str])


def contents(name: str, shape: Sequence[int], data: object) -> list[bytes]:
    """Return the files of the input `name`, whose shape is the number of files.

    `data` is the JSON text of a list of base64 (msgspec.Raw), or bytes: of each file its length (4 bytes,
    little-endian) and its content. Raises Refused for another form, an empty file, and too many files.
    """
    if len(shape) not in (1, 2) or any(size < 1 for size in shape) or (len(shape) == 2 and shape[1] != 1):
        raise Refused(
            400, f"the input {name!r} of files has the shape [number of files], not {str(shape)[:80]}"
        )
    if shape[0] > MOST:
        raise Refused(400, f"the input {name!r} has {shape[0]} files; at most {MOST} are read at once")
    found = _binary(name, data) if isinstance(data, memoryview) else _base64(name, data)
    if len(found) != shape[0]:
        raise Refused(400, f"the input {name!r} has {len(found)} files, and its shape says {shape[0]}")
    if not all(found):
        raise Refused(400, f"file {found.index(b'')} of the input {name!r} is empty")
    return found


def _base64(name: str, data: object) -> list[bytes]:
    if not isinstance(data, msgspec.Raw):
        raise Refused(400, f"the input {name!r} has no data")
    try:
        return [base64.b64decode(one, validate=True) for one in _decoder.decode(data)]
    except msgspec.DecodeError as error:
        raise Refused(400, f"the data of the input {name!r} is no list of base64 texts: {error}") from None
    except (binascii.Error, ValueError) as error:
        raise Refused(400, f"the data of the input {name!r} is not base64: {error}") from None


def _binary(name: str, data: memoryview) -> list[bytes]:
    found, at = list[bytes](), 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise Refused(400, f"the bytes of the input {name!r} end within the length of file {len(found)}")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + size > len(data):
            raise Refused(
                400, f"file {len(found)} of the input {name!r} ends {at + size - len(data)} bytes early"
            )
        found.append(bytes(data[at : at + size]))
        at += size
    return found
