"""WAV files of the forms that programs write are read; damaged ones are refused by name."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.core.errors import InputError
from edgehone.worker.wave_file import read_wave
from tests.sounds import RATE, tone, write_wave

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
GUID_REST = bytes.fromhex("000000001000800000aa00389b71")


def packed(sound: Any, bits: int) -> bytes:
    whole = np.round(sound.astype(np.float64) * ((1 << (bits - 1)) - 1)).astype("<i4")
    return np.ascontiguousarray(whole.view(np.uint8).reshape(-1, 4)[:, : bits // 8]).tobytes()


def form(kind: int = PCM, channels: int = 1, rate: int = RATE, bits: int = 16) -> bytes:
    frame = channels * bits // 8
    return struct.pack("<HHIIHH", kind, channels, rate, rate * frame, frame, bits)


def riff(
    data: bytes, form: bytes, stated: int | None = None, before: bytes = b"", magic: bytes = b"RIFF"
) -> bytes:
    chunks = before + b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(data) if stated is None else stated) + data
    return magic + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_width_of_pcm_is_read(tmp_path: Path, width: int, channels: int) -> None:
    sound, rate = read_wave(write_wave(tmp_path / "a.wav", tone(440), width, channels))
    assert rate == RATE and sound.dtype == np.float32
    np.testing.assert_allclose(sound, tone(440), atol=0.01 if width == 1 else 1e-4)


@pytest.mark.parametrize("bits", [32, 64])
def test_floats_are_read(tmp_path: Path, bits: int) -> None:
    (tmp_path / "a.wav").write_bytes(
        riff(tone(440).astype(f"<f{bits // 8}").tobytes(), form(FLOAT, bits=bits))
    )
    np.testing.assert_array_equal(read_wave(tmp_path / "a.wav")[0], tone(440))


def test_the_extensible_form_is_read_after_another_chunk_of_odd_length(tmp_path: Path) -> None:
    """As ffmpeg writes 24 bits."""
    extended = form(EXTENSIBLE, bits=24) + struct.pack("<HHIH", 22, 24, 4, PCM) + GUID_REST
    before = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    (tmp_path / "a.wav").write_bytes(riff(packed(tone(440), 24), extended, before=before))
    np.testing.assert_allclose(read_wave(tmp_path / "a.wav")[0], tone(440), atol=1e-6)


@pytest.mark.parametrize("stated", [0xFFFFFFFF, 0x7FFFF000])
def test_a_sound_of_unknown_length_goes_to_the_end(tmp_path: Path, stated: int) -> None:
    (tmp_path / "a.wav").write_bytes(riff(packed(tone(440), 16), form(), stated))
    assert len(read_wave(tmp_path / "a.wav")[0]) == RATE


SOUND = packed(tone(440), 16)
NOT_FINITE = np.array([0, np.nan, np.inf], "<f4").tobytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin with RIFF"),
        (b"RIFF", "does not begin with RIFF"),
        (b"no sound at all, but more than a header of 44 bytes, yes", "does not begin with RIFF"),
        (riff(SOUND, form(), magic=b"RIFX"), "does not begin with RIFF"),
        (riff(SOUND, form())[:-7001], "ends early: its chunk 'data' states 32000 bytes, and 24999 are there"),
        (riff(SOUND, form())[:24], "ends early: its chunk 'fmt ' states 16 bytes, and 4 are there"),
        (riff(SOUND, form())[:36], "has no chunk 'data'"),
        (riff(SOUND, form()[:8]), "'fmt' is too short"),
        (riff(b"", form()), "has no samples"),
        (riff(b"\0", form()), "has no samples"),
        (riff(SOUND, form(channels=0)), "states 0 channels"),
        (riff(SOUND, form(rate=0)), "0 samples a second"),
        (riff(SOUND, form(bits=12)), "12 bits"),
        (riff(SOUND, form(FLOAT)), "16 bits"),
        (riff(SOUND, form(85)), "its codec is 85"),
        (riff(NOT_FINITE, form(FLOAT, bits=32)), "has 2 samples that are not finite numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_what_cannot_be_heard_is_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_wave(tmp_path / "a.wav")
    assert "a.wav" in caught.value.message and caught.value.hint and caught.value.exit_code == 2


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_wave(tmp_path / "a.wav")
