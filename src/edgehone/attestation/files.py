"""The files of a bundle as they lie on the disk: their digests, and what no signed bundle may contain.

Nothing is followed or left out: symbolic links, second names of files (hard links), devices, empty folders and odd
permissions are reported, since a signature over names and digests does not cover them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgehone.bundle.schema import CERTIFICATION, DECISION, LARGEST, MANIFEST, SIGNATURE
from edgehone.model.early_digests import early_digest

# They are read whole, so one that is too large is refused before it is hashed. A signature has a limit of its own.
_DOCUMENTS = {MANIFEST, DECISION, *CERTIFICATION} - {SIGNATURE}
# More threads read no faster from one disk.
_THREADS = 8


@dataclass(frozen=True)
class Files:
    """What is in a folder: SHA-256 by relative name, sorted, and a sentence for each entry that may not be in it.

    `state` is that of `state_of` when the files were read.
    """

    digests: Mapping[str, str]
    problems: tuple[str, ...]
    bytes: int
    state: str


@dataclass(frozen=True)
class _Entry:
    path: str
    name: str
    status: os.stat_result


def read_files(folder: Path) -> Files:
    """Return the digests of all files below `folder`, hashed in parallel, and what may not be in it.

    Files that may not be there have no digest.
    """
    found, problems = _walk(folder)
    problems |= {entry.name: problem for entry in found if (problem := _problem(entry))}
    files = [entry for entry in found if entry.name not in problems]
    # The largest first, so that no thread begins a large file when the others have ended.
    files.sort(key=lambda entry: -entry.status.st_size)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        outcomes = list(threads.map(_digest, files))
    digests = {}
    for entry, (digest, error) in zip(files, outcomes, strict=True):
        if error:
            problems[entry.name] = f"{shown(entry.name)} {error}"
        else:
            digests[entry.name] = digest
    return Files(
        dict(sorted(digests.items())),
        tuple(problems[name] for name in sorted(problems)),
        sum(entry.status.st_size for entry in files),
        _state(found),
    )


def state_of(folder: Path) -> str:
    """Return what changes if a file below `folder` is written to, added, removed or renamed; nothing is read.

    The times of change (ctime) are in it, which a user cannot set.
    """
    return _state(_walk(folder)[0])


def _state(entries: Sequence[_Entry]) -> str:
    whole = hashlib.sha256()
    for one in sorted(entries, key=lambda entry: entry.name):
        status = one.status
        facts = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode)
        whole.update(f"{one.name}\0{facts}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def shown(name: str) -> str:
    """Return a name for a message: one with control characters or invalid UTF-8 is escaped."""
    return name if name.isprintable() else ascii(name)


def _walk(root: Path) -> tuple[list[_Entry], dict[str, str]]:
    """Return the entries below a folder that are no folders, and the problems of folders by their names."""
    entries: list[_Entry] = []
    problems = dict[str, str]()
    if odd := _mode_problem(root.stat().st_mode):
        problems[""] = f"the folder {odd}"
    waiting = [(str(root), "")]  # no recursion: folders may be nested deeper than functions
    while waiting:
        path, prefix = waiting.pop()
        try:
            with os.scandir(path) as scanned:
                inside = [
                    _Entry(one.path, f"{prefix}{one.name}", one.stat(follow_symlinks=False))
                    for one in scanned
                ]
        except OSError as error:
            problems[prefix] = f"{shown(prefix)} cannot be read: {error.strerror or error}"
            continue
        if not inside and prefix:
            problems[prefix] = f"{shown(prefix)} is an empty folder"
        for entry in inside:
            if not stat.S_ISDIR(entry.status.st_mode):
                entries.append(entry)
                continue
            waiting.append((entry.path, f"{entry.name}/"))
            if odd := _mode_problem(entry.status.st_mode):
                problems[entry.name] = f"{shown(entry.name)}/ {odd}"
    return entries, problems


def _problem(entry: _Entry) -> str | None:
    mode, name = entry.status.st_mode, shown(entry.name)
    if stat.S_ISLNK(mode):
        return f"{name} is a symbolic link"
    if not stat.S_ISREG(mode):
        return f"{name} is neither a file nor a folder"
    if any("\udc80" <= character <= "\udcff" for character in entry.name):
        return f"{name} is no name in UTF-8"
    if entry.status.st_nlink > 1:
        return f"{name} has {entry.status.st_nlink} names (hard links), by which it can be changed"
    if entry.name in _DOCUMENTS and entry.status.st_size > LARGEST:
        return f"{name} is larger than {LARGEST / 1e6:.0f} MB"
    odd = _mode_problem(mode)
    return f"{name} {odd}" if odd else None


def _mode_problem(mode: int) -> str | None:
    """Return which permissions are odd. Folders may have the bits that pass on the group or restrict deletion."""
    odd = stat.S_IWOTH if stat.S_ISDIR(mode) else stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
    if not mode & odd:
        return None
    what = "can be written by every user" if mode & stat.S_IWOTH else "has a special permission"
    return f"{what} (mode {stat.S_IMODE(mode):o})"


def _digest(entry: _Entry) -> tuple[str, str | None]:
    """Return the digest of a file, or the reason why there is none."""
    try:
        handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(handle, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
            before = os.fstat(handle)
            digest = early_digest(handle) or hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(handle)
    except OSError as error:
        return "", f"cannot be read: {error.strerror or error}"
    same = (entry.status.st_ino, entry.status.st_size, entry.status.st_mtime_ns)
    for status in (before, after):
        if (status.st_ino, status.st_size, status.st_mtime_ns) != same:
            return "", "was changed while it was read"
    return digest, None
