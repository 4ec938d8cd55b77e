"""Align the tensors of a GGUF file to 4 KiB, so that an update that compares blocks fetches only what changed.

A file's metadata lies before its tensors. If it grows by 32 bytes, all tensors move by 32 bytes, and no block of 4 KiB
is what it was. On a boundary of 4 KiB they stay, or move by whole blocks. The tensors' bytes and the metadata are those
of the source, except for `general.alignment`; `differences` compares the two files.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import BinaryIO

from edgehone.formats.gguf import Header, Tensor, read_header

ALIGNMENT = 4096
_KEY = b"general.alignment"
_UINT32, _STRING, _ARRAY = 4, 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def align(source: Path, target: Path) -> None:
    """Write a copy of a GGUF file whose tensors lie on boundaries of 4 KiB.

    Raises ModelError if the source is not a valid GGUF file.
    """
    header = read_header(source)
    with source.open("rb") as file, target.open("wb") as out:
        magic, version, tensors, count = struct.unpack("<4sIQQ", file.read(24))
        kept = [pair for pair in (_pair(file) for _ in range(count)) if not pair.startswith(_string(_KEY))]
        kept.append(_string(_KEY) + struct.pack("<II", _UINT32, ALIGNMENT))
        out.write(struct.pack("<4sIQQ", magic, version, tensors, len(kept)) + b"".join(kept))
        start = 0
        for tensor in header.tensors.values():
            out.write(_renamed(file, start))
            start += _padded(tensor.bytes)
        _pad(out)
        first = data_start(source, header)
        for tensor in header.tensors.values():
            file.seek(first + tensor.start)
            _copy(file, out, tensor.bytes)
            _pad(out)


def differences(first: Path, second: Path) -> list[str]:
    """Return how two GGUF files differ: in metadata, apart from the alignment, or in the bytes of tensors."""
    one, other = read_header(first), read_header(second)
    key = _KEY.decode()
    values = [{name: value for name, value in each.values.items() if name != key} for each in (one, other)]
    lengths = [dict(each.lengths) for each in (one, other)]
    found = [] if values[0] == values[1] and lengths[0] == lengths[1] else ["their metadata"]
    if list(one.tensors) != list(other.tensors):
        return [*found, "the names of their tensors"]
    starts = data_start(first, one), data_start(second, other)
    for name, tensor in one.tensors.items():
        twin = other.tensors[name]
        same = (tensor.type, tensor.dims) == (twin.type, twin.dims)
        if not same or _digest(first, starts[0], tensor) != _digest(second, starts[1], twin):
            found.append(f"the tensor {name}")
    return found


def data_start(path: Path, header: Header) -> int:
    """Return the byte at which the tensors' data begins."""
    with path.open("rb") as file:
        count = struct.unpack("<4sIQQ", file.read(24))[3]
        for _ in range(count):
            _pair(file)
        for _ in header.tensors:
            _info(file)
        alignment = int(header.values.get(_KEY.decode(), 32))
        return -(-file.tell() // alignment) * alignment


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _pair(file: BinaryIO) -> bytes:
    """Read a key and its value, and return their bytes."""
    begin = file.tell()
    _skip_string(file)
    _skip_value(file, struct.unpack("<I", file.read(4))[0])
    size = file.tell() - begin
    file.seek(begin)
    return file.read(size)


def _skip_string(file: BinaryIO) -> None:
    file.seek(struct.unpack("<Q", file.read(8))[0], 1)


def _skip_value(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        _skip_string(file)
    elif kind == _ARRAY:
        item, length = struct.unpack("<IQ", file.read(12))
        if item in _SIZES:
            file.seek(_SIZES[item] * length, 1)
        else:
            for _ in range(length):
                _skip_value(file, item)
    else:
        file.seek(_SIZES[kind], 1)


def _info(file: BinaryIO) -> bytes:
    """Read what the file says of a tensor: its name, dimensions, type and offset."""
    begin = file.tell()
    _skip_string(file)
    dims = struct.unpack("<I", file.read(4))[0]
    file.seek(8 * dims + 4 + 8, 1)
    size = file.tell() - begin
    file.seek(begin)
    return file.read(size)


def _renamed(file: BinaryIO, start: int) -> bytes:
    """Read what the file says of a tensor, and return it with another offset."""
    return _info(file)[:-8] + struct.pack("<Q", start)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _pad(out: BinaryIO) -> None:
    out.write(bytes(_padded(out.tell()) - out.tell()))


def _copy(file: BinaryIO, out: BinaryIO, size: int) -> None:
    while size and (block := file.read(min(size, 1 << 20))):
        out.write(block)
        size -= len(block)


def _digest(path: Path, start: int, tensor: Tensor) -> str:
    digest, left = hashlib.sha256(), tensor.bytes
    with path.open("rb") as file:
        file.seek(start + tensor.start)
        while left and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()
