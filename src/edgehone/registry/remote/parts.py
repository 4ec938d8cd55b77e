"""The chunks of a file, and in which blobs of a repository they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A chunk of a file, and where it is: in a blob of `blob_size` bytes, from the byte `offset` on."""

    chunk: str
    size: int
    blob: str
    blob_size: int
    offset: int

    @property
    def end(self) -> int:
        """The byte of the blob after the last one."""
        return self.offset + self.size


def within(blob: str, size: int, chunks: Iterable[tuple[str, int]]) -> list[Part]:
    """Return the parts of a file that is a blob itself: its chunks, one after another."""
    parts, offset = [], 0
    for chunk, length in chunks:
        parts.append(Part(chunk, length, blob, size, offset))
        offset += length
    return parts


def runs(parts: Sequence[Part], missing: Collection[str]) -> list[list[Part]]:
    """Return the parts with the missing chunks, each chunk once, in runs that lie one after another in a blob."""
    needed = {part.chunk: part for part in parts if part.chunk in missing}
    found: list[list[Part]] = []
    for part in sorted(needed.values(), key=lambda one: (one.blob, one.offset)):
        last = found[-1][-1] if found else None
        if last is not None and (last.blob, last.end) == (part.blob, part.offset):
            found[-1].append(part)
        else:
            found.append([part])
    return found
