"""Files of encrypted records that are appended: AES-256-GCM, with a key of its own for each file.

    magic, salt (16 bytes), length of the header (4 bytes), header (JSON)
    length (4 bytes), ciphertext with its tag — for each record

The key of a file is derived from the operator's key and the salt (HKDF-SHA256, RFC 5869), the nonce of a record is its
number, and the beginning of the file is authenticated with each record. A file is written by one process from its
beginning on, so no nonce is used twice. Records cannot be moved, exchanged or added without the key; that the last
ones are missing cannot be seen, as after a kill.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from edgehone.core.errors import InputError, SetupError
from edgehone.serve.keys import read_keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC: Final = b"edgehone-samples-1\n"
_SALT, _LENGTH, _NONCE, _TAG = 16, 4, 12, 16
_LONGEST_HEADER, _LONGEST_RECORD = 1 << 16, 64 << 20
# 32 hexadecimal digits are 128 bits.
_SHORTEST_KEY = 32


class WrongKey(InputError):
    """The key does not open the records."""


@dataclass(frozen=True)
class Opened:
    """The header of a file and its records. `damage` says why later ones could not be read; "" if all were."""

    header: Mapping[str, Any]
    records: tuple[bytes, ...]
    damage: str


def read_key(path: Path) -> bytes:
    """Return the operator's key: the first line of a file that only its owner can read.

    Raises InputError as `read_keys` does, and for a key that can be guessed; SetupError without cryptography.
    """
    key = read_keys(path)[0].encode()
    if len(key) < _SHORTEST_KEY:
        raise InputError(
            f"the key in {path} has {len(key)} characters; {_SHORTEST_KEY} are needed",
            hint=f"(umask 077; openssl rand -hex 32 > {path})",
        )
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError as error:
        raise SetupError(
            "kept samples need the package cryptography, which is not installed",
            hint='pip install "edgehone[samples]"',
        ) from error
    return key


class Writer:
    """Writes one file. Raises OSError if that fails."""

    def __init__(self, path: Path, key: bytes, header: Mapping[str, Any]) -> None:
        salt = secrets.token_bytes(_SALT)
        text = json.dumps(header).encode()
        self._begin = MAGIC + salt + len(text).to_bytes(_LENGTH, "big") + text
        self._cipher = _cipher(key, salt)
        self.path, self.records, self.bytes = path, 0, len(self._begin)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file: IO[bytes] = os.fdopen(descriptor, "wb", buffering=0)
        self._file.write(self._begin)

    def add(self, records: list[bytes]) -> None:
        """Append records."""
        parts = []
        for one in records:
            sealed = self._cipher.encrypt(_nonce(self.records), one, self._begin)
            parts += [len(sealed).to_bytes(_LENGTH, "big"), sealed]
            self.records += 1
        data = b"".join(parts)
        if self._file.write(data) != len(data):
            raise OSError("the disk is full")
        self.bytes += len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_file(path: Path, key: bytes) -> Opened:
    """Return the records of a file. Raises WrongKey if the key opens none, InputError for another kind of file."""
    from cryptography.exceptions import InvalidTag

    data = path.read_bytes()
    if _is_cut(data):
        return Opened({}, (), f"{path.name} is cut before its first record")
    begin, header = _begin_of(data, path)
    cipher = _cipher(key, begin[len(MAGIC) : len(MAGIC) + _SALT])
    found: list[bytes] = []
    for number, sealed in enumerate(_sealed(data, len(begin))):
        if sealed is None:
            return Opened(header, tuple(found), f"{path.name} is cut after {number} records")
        try:
            found.append(cipher.decrypt(_nonce(number), sealed, begin))
        except InvalidTag:
            if not found:
                raise WrongKey(
                    f"the key does not open {path}, or the file was changed",
                    hint="give the key file that the server was started with: --samples-key-file",
                ) from None
            return Opened(header, tuple(found), f"{path.name} was changed after {number} records")
    return Opened(header, tuple(found), "")


def count(path: Path) -> int:
    """Return how many whole records a file has; 0 for one that is no such file."""
    try:
        data = path.read_bytes()
        begin, _ = _begin_of(data, path)
    except (OSError, InputError):
        return 0
    return sum(one is not None for one in _sealed(data, len(begin)))


def _is_cut(data: bytes) -> bool:
    """Whether a file was killed while its beginning was written."""
    at = len(MAGIC) + _SALT
    size = int.from_bytes(data[at : at + _LENGTH].ljust(_LENGTH, b"\0"), "big")
    begun = data[: len(MAGIC)] == MAGIC[: len(data)]
    return begun and size <= _LONGEST_HEADER and len(data) < at + _LENGTH + size


def _begin_of(data: bytes, path: Path) -> tuple[bytes, Mapping[str, Any]]:
    at = len(MAGIC) + _SALT
    size = int.from_bytes(data[at : at + _LENGTH], "big")
    end = at + _LENGTH + size
    if not data.startswith(MAGIC) or size > _LONGEST_HEADER or len(data) < end:
        raise InputError(f"{path} is no file of kept samples, or cut", hint=f"remove it: rm {path}")
    try:
        header = json.loads(data[at + _LENGTH : end])
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise InputError(f"{path} has a damaged header", hint=f"remove it: rm {path}")
    return data[:end], header


def _sealed(data: bytes, at: int) -> Iterator[bytes | None]:
    """Yield the ciphertexts, and None for one that is cut."""
    while at < len(data):
        size = int.from_bytes(data[at : at + _LENGTH], "big")
        at += _LENGTH
        if not _TAG <= size <= _LONGEST_RECORD or at + size > len(data):
            yield None
            return
        yield data[at : at + size]
        at += size


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE, "big")


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"edgehone kept samples").derive(key)
    return AESGCM(derived)
