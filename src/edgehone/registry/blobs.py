"""The blobs of a registry: files by their SHA-256, in a folder that is an OCI image layout.

oci-layout  index.json     the layout's version, and the versions of the registry that have files
blobs/sha256/HEX           manifests, configs and files up to 1 MiB, whole
chunked/HEX                for a larger file: the digests and sizes of its chunks, one a line
chunks/HE/HEX              the chunks
incoming/                  what is being written or downloaded
registry.json              the id of the registry that the blobs belong to
lock                       shared while blobs are added, exclusive while unused ones are removed

A layout may lack blobs that are kept elsewhere (OCI image specification, image-layout), as it lacks the chunked ones.

Everything is written to `incoming/`, synced to the disk, and renamed. A push commits to the database only after the
folders of what it wrote are synced as well. So a power cut at any point leaves complete blobs and unused ones, never a
version that lacks a blob; `collect` removes the unused.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgehone.core.errors import InputError, SetupError
from edgehone.execution.home import file_lock
from edgehone.registry.chunks import WHOLE, cut

PIECE: Final = 1 << 20
_LAYOUT: Final = {"imageLayoutVersion": "1.0.0"}


@dataclass(frozen=True)
class Blobs:
    """The blobs in a folder. Digests are `sha256:` and 64 hexadecimal digits."""

    folder: Path

    @property
    def incoming(self) -> Path:
        """The folder of what is not complete."""
        return self.folder / "incoming"

    def whole(self, digest: str) -> Path:
        """Return where a blob is that is kept whole."""
        return self.folder / "blobs" / "sha256" / _hex(digest)

    def chunk_list(self, digest: str) -> Path:
        """Return where the list of a blob's chunks is."""
        return self.folder / "chunked" / _hex(digest)

    def chunk(self, digest: str) -> Path:
        """Return where a chunk is."""
        return self.folder / "chunks" / _hex(digest)[:2] / _hex(digest)

    def has(self, digest: str) -> bool:
        """Return True if the blob is here, whole or in chunks."""
        return self.whole(digest).exists() or self.chunk_list(digest).exists()

    def chunks_of(self, digest: str) -> list[tuple[str, int]]:
        """Return the digests and sizes of a blob's chunks, in order. Raises InputError if the list is damaged."""
        path = self.chunk_list(digest)
        try:
            *lines, end = path.read_text("ascii").split("\n")
            if end or not lines:
                raise ValueError("it is cut")
            rows = [line.split() for line in lines]
            return [(f"sha256:{hexadecimal}", int(size)) for hexadecimal, size in rows]
        except (OSError, ValueError) as error:
            raise _damaged(digest, f"its list of chunks {path} cannot be read") from error

    def read(self, digest: str, start: int = 0) -> Iterator[bytes]:
        """Yield a blob's bytes from `start` on, in pieces of at most 1 MiB, and compare its digest if all is read.

        Raises InputError if the blob is missing or not what its digest says.
        """
        sha = hashlib.sha256()
        position = 0
        for data in self._pieces(digest):
            sha.update(data)
            skipped = min(max(start - position, 0), len(data))
            position += len(data)
            if skipped < len(data):
                yield data[skipped:] if skipped else data
        if sha.hexdigest() != _hex(digest):
            raise _damaged(digest, "its content was changed")

    def read_bytes(self, digest: str) -> bytes:
        """Return a small blob, compared with its digest."""
        return b"".join(self.read(digest))

    def read_chunk(self, digest: str) -> bytes:
        """Return a chunk. Raises InputError if it is missing or not what its digest says."""
        try:
            data = self.chunk(digest).read_bytes()
        except OSError as error:
            raise _damaged(digest, f"{error.filename} cannot be read: {error.strerror}") from error
        if digest_of(data) != digest:
            raise _damaged(digest, "its content was changed")
        return data

    def _pieces(self, digest: str) -> Iterator[bytes]:
        try:
            if self.whole(digest).exists():
                yield from _file_pieces(self.whole(digest))
            elif self.chunk_list(digest).exists():
                for chunk, size in self.chunks_of(digest):
                    data = self.chunk(chunk).read_bytes()
                    if len(data) != size:
                        raise _damaged(digest, f"its chunk {chunk} has {len(data)} bytes, not {size}")
                    yield data
            else:
                raise _damaged(digest, "it is missing")
        except FileNotFoundError as error:
            raise _damaged(digest, f"its chunk {error.filename} is missing") from error
        except OSError as error:
            raise _damaged(digest, f"{error.filename} cannot be read: {error.strerror}") from error

    @contextmanager
    def adding(self) -> Iterator[Adding]:
        """Give what adds blobs. At the end everything that it added is on the disk.

        Raises SetupError if the disk is full or the folder cannot be written.
        """
        try:
            with file_lock(self.folder / "lock", shared=True):
                adding = Adding(self)
                yield adding
                adding.sync()
        except OSError as error:
            raise disk_error(error, self.folder) from error

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep `collect` from removing anything meanwhile."""
        with file_lock(self.folder / "lock", shared=True):
            yield

    def write_index(self, manifests: Iterable[dict[str, Any]]) -> None:
        """Write the layout's index.json."""
        content = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}
        text = json.dumps({**content, "manifests": list(manifests)}, sort_keys=True)
        try:
            self.replace("index.json", text.encode())
        except OSError as error:
            raise disk_error(error, self.folder) from error

    def replace(self, name: str, data: bytes) -> None:
        """Write a file of the layout, in the place of an older one, at once."""
        temporary = self._written([data])
        temporary.replace(self.folder / name)
        sync_folder(self.folder)

    def belong_to(self, uid: str) -> None:
        """Note that the blobs belong to the registry of that id. Raises InputError if they belong to another.

        Collecting with another registry's database would remove every blob.
        """
        note = self.folder / "registry.json"
        try:
            owner = json.loads(note.read_text("utf-8"))["registry"]
        except FileNotFoundError:
            owner = self._found(uid)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{note} is damaged, so it is not known which registry the blobs belong to",
                hint=f"restore {note} from a backup",
            ) from error
        if owner != uid:
            raise InputError(
                f"the blobs in {self.folder} belong to the registry {owner}, the database is of registry {uid}",
                hint="name the folder of this registry's blobs with --blobs, or restore its database from a backup",
            )

    def _found(self, uid: str) -> str:
        try:
            for part in ("blobs/sha256", "chunks", "chunked", "incoming"):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
            with file_lock(self.folder / "lock"):
                if (self.folder / "registry.json").exists():  # another process was faster
                    return str(json.loads((self.folder / "registry.json").read_text("utf-8"))["registry"])
                if any((self.folder / "blobs" / "sha256").iterdir()):
                    note = self.folder / "registry.json"
                    raise InputError(
                        f"{note} is missing, so it is not known which registry the blobs belong to",
                        hint=f"restore {note} from a backup",
                    )
                self.replace("oci-layout", json.dumps(_LAYOUT).encode())
                if not (self.folder / "index.json").exists():
                    self.write_index([])
                self.replace("registry.json", json.dumps({"registry": uid}).encode())
        except OSError as error:
            raise disk_error(error, self.folder) from error
        return uid

    def _written(self, pieces: Iterable[bytes]) -> Path:
        """Write a temporary file, complete and on the disk."""
        handle, name = tempfile.mkstemp(dir=self.incoming)
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name)


@dataclass
class Adding:
    """Adds blobs. `sync` puts the folders that changed on the disk.

    `new_bytes` are those of files and chunks that were not in the registry before, `own_bytes` those of new manifests,
    configs and lists of chunks, which the registry makes itself.
    """

    blobs: Blobs
    new_bytes: int = 0
    own_bytes: int = 0
    _folders: set[Path] = field(default_factory=set)

    def add_bytes(self, data: bytes) -> str:
        """Add a manifest, a config or another small blob and return its digest."""
        digest = digest_of(data)
        if not self.blobs.has(digest):
            self.own_bytes += self._place(self.blobs.whole(digest), [data])
        return digest

    def add_file(self, path: Path, digest: str) -> None:
        """Add a file whose digest is known. Raises InputError if its content has another one."""
        if self.blobs.has(digest):
            return
        if path.stat().st_size <= WHOLE:
            data = path.read_bytes()
            _check(digest_of(data), digest, path)
            self.new_bytes += self._place(self.blobs.whole(digest), [data])
            return
        sha = hashlib.sha256()
        rows = []
        with path.open("rb") as file:
            for data in cut(file):
                sha.update(data)
                rows.append((self.add_chunk(data), len(data)))
        _check(f"sha256:{sha.hexdigest()}", digest, path)
        self.add_list(digest, rows)

    def add_chunk(self, data: bytes) -> str:
        """Add a chunk and return its digest."""
        digest = digest_of(data)
        if not self.blobs.chunk(digest).exists():
            self.new_bytes += self._place(self.blobs.chunk(digest), [data])
        return digest

    def add_list(self, digest: str, rows: Iterable[tuple[str, int]]) -> None:
        """Add the list of the chunks of a blob, all of which are here, in order, and make the blob."""
        text = "".join(f"{_hex(chunk)} {size}\n" for chunk, size in rows)
        self.sync()  # the list must not reach the disk before its chunks
        self.own_bytes += self._place(self.blobs.chunk_list(digest), [text.encode()])

    def sync(self) -> None:
        """Put the names of what was added on the disk."""
        while self._folders:
            sync_folder(self._folders.pop())

    def _place(self, target: Path, pieces: Iterable[bytes]) -> int:
        """Write a file and return its size."""
        temporary = self.blobs._written(pieces)
        if not target.parent.is_dir():
            target.parent.mkdir(exist_ok=True)
            self._folders.add(target.parent.parent)
        size = temporary.stat().st_size
        temporary.rename(target)
        self._folders.add(target.parent)
        return size


def digest_of(data: bytes) -> str:
    """Return the digest of a blob."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def sync_folder(folder: Path) -> None:
    """Put the entries of a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class NoSpace(SetupError):
    """The disk is full."""


def disk_error(error: OSError, folder: Path) -> SetupError:
    """Return the error of a write as edgehone's."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(
            f"no space left on the disk of {folder}",
            hint="free some space and run the same command again",
        )
    return SetupError(
        f"{error.filename or folder} cannot be written: {error.strerror or error}",
        hint="check its permissions",
    )


def clear(folder: Path) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        folder.unlink()


def _file_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(PIECE):
            yield data


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _check(found: str, expected: str, path: Path) -> None:
    if found != expected:
        raise InputError(
            f"{path} changed while it was read: its digest is {found}, not {expected}",
            hint="run the same command again when nothing else writes to the bundle",
        )


def _damaged(digest: str, what: str) -> InputError:
    return InputError(
        f"the blob {digest} cannot be used: {what}",
        hint="edgehone registry verify lists all damage; push the bundle again to repair it",
    )
