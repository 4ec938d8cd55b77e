"""Files of a folder of blobs that nothing needs, and their removal in an order that survives a power cut."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from edgehone.registry.blobs import Blobs, sync_folder

# An interrupted download can be continued for this long.
_PARTIAL_SECONDS: Final = 86_400


def paths_of(blobs: Blobs, digests: Iterable[str]) -> set[Path]:
    """Return the files that blobs consist of. Raises InputError if a list of chunks is damaged."""
    needed: set[Path] = set()
    for digest in digests:
        needed.add(blobs.whole(digest))
        listed = blobs.chunk_list(digest)
        if listed.exists():
            needed.add(listed)
            needed.update(blobs.chunk(chunk) for chunk, _ in blobs.chunks_of(digest))
    return needed


def unused_files(blobs: Blobs, needed: set[Path]) -> Iterator[Path]:
    """Yield the files that nothing needs, lists of chunks before chunks."""
    for folder in ("blobs/sha256", "chunked"):
        yield from (path for path in (blobs.folder / folder).iterdir() if path not in needed)
    yield from (path for path in (blobs.folder / "chunks").glob("*/*") if path not in needed)
    recent = time.time() - _PARTIAL_SECONDS
    for path in blobs.incoming.iterdir():
        if path.is_file() and not (path.suffix == ".partial" and path.stat().st_mtime > recent):
            yield path


def remove_files(blobs: Blobs, unused: Iterable[Path]) -> None:
    """Remove files in order. A list of chunks must be gone from the disk before its chunks go."""
    listed = True
    for path in unused:
        if listed and path.parent.parent.name == "chunks":
            sync_folder(blobs.folder / "chunked")
            listed = False
        path.unlink(missing_ok=True)
