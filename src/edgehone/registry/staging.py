"""Write the files of a bundle from blobs to a folder, at once: complete and on the disk, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgehone.bundle.write import replace_bundle
from edgehone.execution.sole_writer import sole_writer
from edgehone.registry.blobs import Blobs, disk_error, sync_folder
from edgehone.registry.modelpack import File


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `out` at the end, and is removed after an error.

    Raises SetupError if the disk is full, or if another process writes to `out`.
    """
    out = out.absolute()
    folder = out.with_name(f".{out.name}.partial")
    with sole_writer(out):
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            yield folder
            replace_bundle(folder, out)
            sync_folder(out.parent)
        except OSError as error:
            raise disk_error(error, out.parent) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def write_files(blobs: Blobs, files: Sequence[File], folder: Path) -> None:
    """Write the files of a bundle, each compared with its digest."""
    for file in files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, blobs.read(file.digest), 0o755 if file.executable else 0o644)
    for inner in sorted({(folder / file.path).parent for file in files}):
        sync_folder(inner)


def _write(path: Path, pieces: Iterable[bytes], mode: int) -> None:
    with path.open("xb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), mode)
