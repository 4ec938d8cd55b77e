"""Read WAV files: PCM of 8 to 32 bits and IEEE floats, also as WAVE_FORMAT_EXTENSIBLE (worker side, numpy only).

Python's `wave` reads neither floats nor, before 3.12, the extensible form in which ffmpeg and others write more than 16
bits, and it takes a file that ends early for a shorter sound. Layout: "Multimedia Programming Interface and Data
Specifications 1.0" (RIFF, IBM and Microsoft, 1991) and the documentation of WAVEFORMATEXTENSIBLE.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_WIDTHS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
# Programs that write to a pipe do not know the length; they state about this much, or more.
_UNKNOWN = 0x7FFF0000
_CONVERT = "convert it to PCM: ffmpeg -i FILE -c:a pcm_s16le FILE.wav"


@dataclass(frozen=True)
class _Form:
    """What the chunk `fmt ` states: 1 for integers or 3 for floats, channels, samples a second, bits of a sample."""

    kind: int
    channels: int
    rate: int
    bits: int


def read_wave(path: Path) -> tuple[NDArray[np.float32], int]:
    """Return the mean of a file's channels, integers scaled to between -1 and 1, and its rate.

    Raises InputError for files of another kind, damaged and truncated ones, and values that are not finite.
    """
    import numpy as np

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", hint="check the path") from error
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise InputError(f"{path} cannot be read as WAV: it does not begin with RIFF and WAVE", hint=_CONVERT)
    chunks = dict(_chunks(content, path))
    if b"fmt " not in chunks or b"data" not in chunks:
        missing = "fmt" if b"fmt " not in chunks else "data"
        raise InputError(f"{path} cannot be read as WAV: it has no chunk '{missing}'", hint=_CONVERT)
    form = _form(chunks[b"fmt "], path)
    frame = form.bits // 8 * form.channels
    data = chunks[b"data"]
    values = _values(data[: len(data) // frame * frame], form)
    if not len(values):
        raise InputError(f"{path} has no samples", hint="remove it")
    mixed: NDArray[np.float32] = values.reshape(-1, form.channels).mean(1).astype(np.float32)
    if not np.isfinite(mixed).all():
        count = int((~np.isfinite(mixed)).sum())
        raise InputError(
            f"{path} has {count} samples that are not finite numbers", hint="repair or remove the file"
        )
    return mixed, form.rate


def _chunks(content: bytes, path: Path) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the chunks by name, up to the sound. Chunks begin at even places."""
    at, whole = 12, memoryview(content)
    while at + 8 <= len(content):
        name, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        found = whole[at + 8 : at + 8 + size]
        if len(found) < size and not (name == b"data" and size >= _UNKNOWN):
            raise InputError(
                f"{path} cannot be read as WAV: it ends early: its chunk {name.decode('latin-1')!r} states {size} "
                f"bytes, and {len(found)} are there",
                hint="copy or record the file again",
            )
        yield name, found
        if name == b"data":
            return
        at += 8 + size + size % 2


def _form(chunk: memoryview, path: Path) -> _Form:
    """Return what the chunk `fmt ` states. Raises InputError for codecs, and for numbers that cannot be meant."""
    if len(chunk) < 16:
        raise InputError(f"{path} cannot be read as WAV: its chunk 'fmt' is too short", hint=_CONVERT)
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        kind = struct.unpack_from("<H", chunk, 24)[0]  # the first two bytes of the format's GUID
    if kind not in _WIDTHS:
        raise InputError(
            f"{path} cannot be read as WAV: its codec is {kind}, neither PCM (1) nor floats (3)",
            hint=_CONVERT,
        )
    if rate < 1 or channels < 1 or bits not in _WIDTHS[kind]:
        raise InputError(
            f"{path} states {channels} channels, {rate} samples a second and {bits} bits: it is damaged, or of a "
            "kind that is not read",
            hint=_CONVERT,
        )
    return _Form(kind, channels, rate, bits)


def _values(data: memoryview, form: _Form) -> NDArray[Any]:
    """Return the samples of all channels as float64; 8 bits are unsigned, more are signed."""
    import numpy as np

    if form.kind == _FLOAT:
        return np.frombuffer(data, f"<f{form.bits // 8}").astype(np.float64)
    if form.bits == 8:
        return np.frombuffer(data, np.uint8).astype(np.float64) / 128 - 1
    width = form.bits // 8
    raw = np.frombuffer(data, np.uint8).reshape(-1, width)
    wide = np.zeros((len(raw), 4), np.uint8)
    wide[:, 4 - width :] = raw  # the highest bytes of 32
    return wide.view("<i4")[:, 0].astype(np.float64) / (1 << 31)
