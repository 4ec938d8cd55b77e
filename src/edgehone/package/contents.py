"""The files of a package, also those inside its archives: `app.apk!assets/model.gguf`, `image.tar!layer.tar!model`."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO

from edgehone.attestation.errors import NotVerified

# What reading a damaged archive raises.
BROKEN = (
    OSError,
    KeyError,
    ValueError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
)
ZIPS = (".apk", ".aar", ".zip", ".jar", ".llamafile")
_HINT = "copy the package again from where it was made"


@contextmanager
def open_member(folder: Path, at: str) -> Iterator[IO[bytes]]:
    """Open a file of a package, which may lie in archives. Raises NotVerified if it is not there."""
    names = at.split("!")
    with ExitStack() as stack:
        try:
            file: IO[bytes] = stack.enter_context((folder / names[0]).open("rb"))
            for archive, name in pairwise(names):
                file = stack.enter_context(_member(file, archive, name, stack))
        except BROKEN as error:
            raise NotVerified(f"{at} cannot be read in the package: {error}", hint=_HINT) from error
        yield file


def _member(file: IO[bytes], archive: str, name: str, stack: ExitStack) -> IO[bytes]:
    # Of two entries of one name, programs differ in which they take.
    if archive.endswith(ZIPS):
        opened_zip = stack.enter_context(zipfile.ZipFile(file))
        _check_single(name, [one.filename for one in opened_zip.infolist()])
        return opened_zip.open(name)
    opened = stack.enter_context(tarfile.open(fileobj=file, mode="r:*"))  # noqa: SIM115
    _check_single(name, opened.getnames())
    member = opened.getmember(name)
    found = opened.extractfile(member) if member.isreg() else None
    if found is None:
        raise KeyError(f"{name} is not a file")
    return found


def _check_single(name: str, names: Sequence[str]) -> None:
    if names.count(name) != 1:
        raise KeyError(f"{names.count(name)} entries are called {name}")


def digest_member(folder: Path, at: str) -> str:
    """Return the SHA-256 of a file of a package. Raises NotVerified if it cannot be read."""
    digest = hashlib.sha256()
    with open_member(folder, at) as file:
        try:
            while block := file.read(1 << 20):
                digest.update(block)
        except BROKEN as error:
            raise NotVerified(f"{at} cannot be read in the package: {error}", hint=_HINT) from error
    return digest.hexdigest()


def digest_members(folder: Path, places: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of files of a package. A tar archive, which has no index, is read once for all its members.

    Raises NotVerified, as `digest_member` does.
    """
    found: dict[str, str] = {}
    archives: dict[str, list[str]] = {}
    for at in places:
        archive, _, name = at.rpartition("!")
        if not archive or "!" in archive or archive.endswith(ZIPS):
            found[at] = digest_member(folder, at)
        else:
            archives.setdefault(archive, []).append(name)
    for archive, names in archives.items():
        digests = _digests_of_tar(folder, archive, set(names))
        found |= {f"{archive}!{name}": digest for name, digest in digests.items()}
    return found


def _digests_of_tar(folder: Path, archive: str, wanted: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        with tarfile.open(folder / archive) as opened:
            for member in opened:
                if member.name not in wanted:
                    continue
                file = opened.extractfile(member) if member.isreg() else None
                # Of two entries of one name, programs differ in which they take.
                if file is None or member.name in found:
                    raise KeyError(f"{member.name} is not a file, or one of several of this name")
                found[member.name] = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        if missing := wanted - set(found):
            raise KeyError(f"no entry is called {min(missing)}")
    except BROKEN as error:
        raise NotVerified(f"{archive} cannot be read in the package: {error}", hint=_HINT) from error
    return found


def parts_of(path: Path) -> dict[str, int]:
    """Return the parts of a deliverable: stored bytes by name, the largest first."""
    if path.is_dir():
        found = {
            one.relative_to(path).as_posix(): one.lstat().st_size
            for one in path.rglob("*")
            if not one.is_dir()
        }
    elif path.suffix in ZIPS:
        with zipfile.ZipFile(path) as archive:
            found = {one.filename: one.compress_size for one in archive.infolist()}
    elif path.name.endswith((".tar", ".tar.gz", ".tgz")):
        with tarfile.open(path) as archive_:
            found = {one.name: one.size for one in archive_ if one.isfile()}
    else:
        found = {path.name: path.stat().st_size}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def size_of(path: Path) -> int:
    """Return the bytes of a deliverable: of a file, or of all files in a folder."""
    return sum(parts_of(path).values()) if path.is_dir() else path.stat().st_size
