"""The GGUF header reader."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.backends.llamacpp import gguf_header
from edgehone.core.errors import EdgehoneError


def string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def header(values: list[bytes], tensors: list[bytes], version: int = 3) -> bytes:
    counts = struct.pack("<IQQ", version, len(tensors), len(values))
    return b"GGUF" + counts + b"".join(values) + b"".join(tensors)


def tensor(name: str, kind: int) -> bytes:
    return string(name) + struct.pack("<I", 2) + struct.pack("<QQ", 256, 8) + struct.pack("<IQ", kind, 0)


WHOLE = header(
    [
        string("general.architecture") + struct.pack("<I", 8) + string("llama"),
        string("llama.context_length") + struct.pack("<II", 4, 1024),
        string("tokens") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("b"),
        string("scores") + struct.pack("<IIQ3f", 9, 6, 3, 1.0, 2.0, 3.0),
        string("tied") + struct.pack("<I?", 7, True),
    ],
    [tensor("a", 12), tensor("b", 12), tensor("c", 0), tensor("d", 99)],
)


def test_values_and_types_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(WHOLE)
    read = gguf_header.read(path)
    assert read.values == {"general.architecture": "llama", "llama.context_length": 1024, "tied": True}
    assert read.tensor_types == {"F32": 1, "Q4_K": 2, "type 99": 1}


def test_a_header_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    for length in range(len(WHOLE)):
        path.write_bytes(WHOLE[:length])
        with pytest.raises(EdgehoneError, match="not a whole GGUF file"):
            gguf_header.read(path)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    for start in (b"", b"GGUF" + struct.pack("<I", 3)):
        path.write_bytes(start + tail)
        try:
            gguf_header.read(path)
        except EdgehoneError as error:
            assert str(path) in error.message


def test_an_unknown_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(header([], [], version=9))
    with pytest.raises(EdgehoneError, match="version 9"):
        gguf_header.read(path)
