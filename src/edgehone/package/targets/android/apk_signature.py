"""Sign an APK by the APK Signature Schemes v2 and v3, as Android's documentation defines them.

The signatures are in a block between the entries and the directory at the end, so entries stay where they are. Both
sign digests of chunks of 1 MiB of the whole file; v3 also states the Android versions that it is for. The older v1 is
left out: Android has read v2 since version 7, before the least version of these packages.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from edgehone.package.targets.android.signer import Signer

_V2, _V3 = 0x7109871A, 0xF05368C0
_V3_EXISTS: Final = struct.pack(
    "<II", 0xBEEFF00D, 3
)  # an attribute in v2, so that v3 cannot be removed unnoticed
_MAGIC: Final = b"APK Sig Block 42"
_CHUNK: Final = 1 << 20
_END: Final = 22  # bytes of the end record of an archive without a comment
_MOST_SDK: Final = 0x7FFFFFFF


def sign(path: Path, signer: Signer, min_sdk: int) -> None:
    """Sign an APK in place, for Android versions from the API level `min_sdk` on."""
    with path.open("r+b") as file:
        file.seek(-_END, 2)
        end = file.read(_END)
        if not end.startswith(b"PK\5\6"):
            raise ValueError(f"{path} has a comment at its end, or is no ZIP archive")
        (at,) = struct.unpack_from("<I", end, 16)
        file.seek(at)
        directory = file.read()[:-_END]
        digest = _digest(file, at, directory, end)
        block = _block(
            [(_V2, _scheme(_v2(signer, digest))), (_V3, _scheme(_v3(signer, digest, min_sdk)))],
        )
        file.seek(at)
        file.write(block + directory + end[:16] + struct.pack("<I", at + len(block)) + end[20:])


def _digest(file: IO[bytes], at: int, directory: bytes, end: bytes) -> bytes:
    """Return the digest of the digests of all chunks. The end record counts as if there were no signatures."""
    digests = [*_of_file(file, at), *_of_bytes(directory), *_of_bytes(end)]
    return hashlib.sha256(b"\x5a" + struct.pack("<I", len(digests)) + b"".join(digests)).digest()


def _of_file(file: IO[bytes], length: int) -> Iterator[bytes]:
    file.seek(0)
    while length:
        chunk = file.read(min(_CHUNK, length))
        length -= len(chunk)
        yield _of_chunk(chunk)


def _of_bytes(content: bytes) -> Iterator[bytes]:
    for begin in range(0, len(content), _CHUNK):
        yield _of_chunk(content[begin : begin + _CHUNK])


def _of_chunk(chunk: bytes) -> bytes:
    return hashlib.sha256(b"\xa5" + struct.pack("<I", len(chunk)) + chunk).digest()


def _v2(signer: Signer, digest: bytes) -> bytes:
    signed = _with_length(_digests(signer, digest))
    signed += _with_length(_with_length(signer.certificate))
    signed += _with_length(_with_length(_V3_EXISTS))
    return _with_length(signed) + _signatures(signer, signed) + _with_length(signer.public)


def _v3(signer: Signer, digest: bytes, min_sdk: int) -> bytes:
    versions = struct.pack("<II", min_sdk, _MOST_SDK)
    signed = _with_length(_digests(signer, digest))
    signed += _with_length(_with_length(signer.certificate))
    signed += versions + _with_length(b"")
    return _with_length(signed) + versions + _signatures(signer, signed) + _with_length(signer.public)


def _digests(signer: Signer, digest: bytes) -> bytes:
    return _with_length(struct.pack("<I", signer.algorithm) + _with_length(digest))


def _signatures(signer: Signer, signed: bytes) -> bytes:
    return _with_length(_with_length(struct.pack("<I", signer.algorithm) + _with_length(signer.sign(signed))))


def _scheme(signer: bytes) -> bytes:
    """Return the value of a scheme with one signer."""
    return _with_length(_with_length(signer))


def _block(schemes: Sequence[tuple[int, bytes]]) -> bytes:
    pairs = b"".join(struct.pack("<QI", 4 + len(value), number) + value for number, value in schemes)
    size = struct.pack("<Q", len(pairs) + 8 + len(_MAGIC))
    return size + pairs + size + _MAGIC


def _with_length(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content
