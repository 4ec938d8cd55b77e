"""A llamafile: the llamafile program with the model and its arguments appended as entries of a ZIP archive.

The program is a ZIP archive itself. Both entries are stored uncompressed, the model on a boundary of memory pages, so
that it is mapped from the file and not copied.
https://github.com/Mozilla-Ocho/llamafile/blob/main/README.md#creating-llamafiles
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgehone.core.errors import InputError
from edgehone.package import settings
from edgehone.package.llama_server import has_pictures, server_options
from edgehone.package.target import Carried, Deliverable, Request

# Pages of Apple silicon; those of other systems have 4 KiB.
ALIGNMENT = 16384
_PADDING = 0xD935  # the extra field by which Android's zipalign aligns entries
_MAGIC = (b"MZqFpD", b"jartsr")  # of Actually Portable Executables, which llamafiles are
# The settings that `server_options` passes on.
_APPLIED = ("kv_cache", "flash_attention")
_HINT = "give the llamafile program that the project publishes, without a model: --set llamafile=FILE"


@dataclass(frozen=True)
class Made:
    """The llamafile, what it carries, and notes: one names the program."""

    deliverable: Deliverable
    carried: Carried
    notes: tuple[str, ...]


def write(request: Request, folder: Path, name: str) -> Made:
    """Write NAME.llamafile. Raises InputError if the program that the user names is none, or has a model."""
    if has_pictures(request.bundle):
        raise InputError(
            "llamafiles of vision-language models are not made: the model has two files",
            hint="leave llamafile out",
        )
    program = Path(request.options["llamafile"])
    _check_program(program)
    path = folder / f"{name}.llamafile"
    request.tell(f"appending the model to a copy of {program.name}")
    shutil.copyfile(program, path)
    path.chmod(0o755)
    words = ["-m", f"/zip/{name}.gguf", *server_options(request.bundle, drafts=False)]
    with zipfile.ZipFile(path, "a") as archive:
        # "..." stands for the arguments of the command line.
        _store(archive, ".args", request.time, "".join(f"{word}\n" for word in [*words, "..."]).encode())
        _store(archive, f"{name}.gguf", request.time, request.bundle.artifact / "model.gguf", ALIGNMENT)
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    return Made(
        Deliverable(path.name, "program with the model in it"),
        Carried("artifact/model.gguf", f"{path.name}!{name}.gguf"),
        (
            f"the llamafile was made of the program with SHA-256 {digest}, which is not part of the bundle's proof",
            *settings.notes(request.bundle, _APPLIED, "the llamafile"),
        ),
    )


def _check_program(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(6)
        names = zipfile.ZipFile(path).namelist() if magic in _MAGIC else None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}", hint=_HINT) from error
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is not a llamafile program: it has no ZIP archive", hint=_HINT) from error
    if names is None:
        raise InputError(f"{path} is not a llamafile program: it begins with {magic!r}", hint=_HINT)
    if loaded := [name for name in names if name == ".args" or name.endswith(".gguf")]:
        raise InputError(f"{path} has a model already: {', '.join(loaded)}", hint=_HINT)


def _store(archive: zipfile.ZipFile, name: str, time: int, content: bytes | Path, alignment: int = 1) -> None:
    """Add an entry, stored uncompressed, whose content begins at a multiple of `alignment` bytes."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    entry = zipfile.ZipInfo(name, datetime.fromtimestamp(time, UTC).timetuple()[:6])
    entry.external_attr = 0o100644 << 16
    entry.create_system = 3  # Unix, also where Python says otherwise
    entry.file_size, entry.CRC = size, 0  # `open` sets the checksum again
    large = size > zipfile.ZIP64_LIMIT - (1 << 20)
    if alignment > 1:
        # Where `zipfile` will put the entry: where the list of entries begins, which it writes anew.
        begin = archive.start_dir + len(entry.FileHeader(zip64=large)) + 4
        padding = -begin % alignment
        entry.extra += _PADDING.to_bytes(2, "little") + padding.to_bytes(2, "little") + bytes(padding)
    with archive.open(entry, "w", force_zip64=large) as target:
        if isinstance(content, bytes):
            target.write(content)
        else:
            with content.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
