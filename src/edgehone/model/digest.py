"""Compute SHA-256 digests of a model's files, cached while a file's size, time and inode do not change."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgehone.core.errors import ModelError
from edgehone.core.files import open_regular
from edgehone.model.early_digests import early_digest
from edgehone.model.info import ModelInfo

# Names of blobs with the SHA-256 of their content; those of 40 digits are digests of Git and are not compared.
_BLOB = re.compile(r"(?:sha256-)?([0-9a-f]{64})")


def digest_file(path: Path, cache: Path | None = None) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    `cache`: a folder of earlier digests, created if missing. A cached digest is valid while the file's size,
    modification time and inode are unchanged. A cache that cannot be written is not used. Raises ModelError if the
    file cannot be read, or is a pipe or a device.
    """
    try:
        with open_regular(path) as file:
            state = _state(file.fileno())
            entry = cache / _entry_name(path) if cache is not None else None
            known = _recall(entry, state) if entry is not None else None
            if known is not None:
                return known
            digest = early_digest(file.fileno()) or hashlib.file_digest(file, "sha256").hexdigest()
            if entry is not None and _state(file.fileno()) == state:
                _remember(entry, state, digest)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    return digest


def is_remembered(path: Path, cache: Path) -> bool:
    """Return whether `digest_file` would not read a file."""
    try:
        with open_regular(path) as file:
            return _recall(cache / _entry_name(path), _state(file.fileno())) is not None
    except OSError:
        return False


def digest_model(info: ModelInfo, cache: Path | None = None) -> str:
    """Return the SHA-256 over the sorted pairs (relative name, file digest) of all files of the model.

    Raises ModelError for a blob whose name states another SHA-256.
    """
    digests = {name: digest_file(info.folder / name, cache) for name in info.files}
    for name, digest in digests.items():
        _check_name(info.folder / name, digest)
    return combined(digests)


def _check_name(path: Path, digest: str) -> None:
    """Raise ModelError if a file is a blob of Ollama's store or the hub's cache, and not the one that its name says."""
    blob = path.resolve()
    named = _BLOB.fullmatch(blob.name)
    if named and blob.parent.name == "blobs" and named[1] != digest:
        raise ModelError(
            f"{blob} is damaged: its SHA-256 is {digest}, and its name says {named[1]}",
            hint="delete it, and pull or download the model again",
        )


def digest_folder(path: Path, cache: Path | None = None) -> dict[str, str]:
    """Return the digests of all files below `path`, by relative name with forward slashes, sorted.

    Links are followed, also those to folders. `cache` as in `digest_file`. Raises ModelError for an entry that is
    neither file nor folder, a broken link, and a link to a folder that contains it.
    """
    digests = {entry.relative_to(path).as_posix(): digest_file(entry, cache) for entry in _files_below(path)}
    return dict(sorted(digests.items()))


def _files_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    # Not rglob: before Python 3.13 it does not enter folders that are links.
    real = folder.resolve()
    if real in above:
        raise ModelError(f"{folder} is a link to a folder that contains it")
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files_below(entry, above | {real})
        else:
            yield entry


def digest_paths(paths: Sequence[Path]) -> str:
    """Return one digest of several files. It depends on their order."""
    return combined({f"{index}/{path.name}": digest_file(path) for index, path in enumerate(paths)})


def combined(digests: Mapping[str, str]) -> str:
    """Return one SHA-256 over the sorted pairs (relative name, file digest)."""
    whole = hashlib.sha256()
    for name, digest in sorted(digests.items()):
        whole.update(f"{name}\0{digest}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _state(descriptor: int) -> list[int]:
    status = os.fstat(descriptor)
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _entry_name(path: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest() + ".json"


def _recall(entry: Path, state: list[int]) -> str | None:
    try:
        stored = json.loads(entry.read_text())
    except (OSError, ValueError):  # none yet, or truncated by a full disk
        return None
    if not isinstance(stored, dict) or stored.get("state") != state:
        return None
    digest = stored.get("sha256")
    return digest if isinstance(digest, str) and len(digest) == 64 else None


def _remember(entry: Path, state: list[int], digest: str) -> None:
    temporary: str | None = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=entry.parent)
        with os.fdopen(handle, "w") as file:
            json.dump({"state": state, "sha256": digest}, file)
        Path(temporary).replace(entry)
    except OSError:  # a read-only or full cache costs time, not correctness
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
