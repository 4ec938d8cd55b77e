"""Facts about tensor types, from headers as the one GGUF parser reads them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from edgehone.backends.llamacpp import build
from edgehone.backends.llamacpp.tensor_types import expert_types, tensor_types
from edgehone.core.errors import ModelError
from edgehone.formats.gguf import read_header

# Type number, dimensions and bytes. NVFP4 and Q1_0 are the newest types of ggml.
F32, Q4_K, NVFP4, Q1_0 = (0, (8,), 32), (12, (256, 8), 1152), (40, (64, 8), 288), (41, (128, 8), 144)


def write(path: Path, tensors: dict[str, tuple[int, tuple[int, ...], int]]) -> Path:
    infos, data = b"", b""
    for name, (number, dims, size) in tensors.items():
        infos += struct.pack("<Q", len(name)) + name.encode()
        infos += struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, number, len(data))
        data += bytes(size)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 0) + infos
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


def test_types_are_counted_including_the_newest(tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", {"a": Q4_K, "b": Q4_K, "c": F32, "d": NVFP4, "e": Q1_0})
    header = read_header(path)
    assert tensor_types(header) == {"F32": 1, "NVFP4": 1, "Q1_0": 1, "Q4_K": 2}
    assert expert_types(header) == {}
    facts = build.facts(path)
    assert facts["tensor_types"] == tensor_types(header) and facts["bytes"] == path.stat().st_size
    assert facts["quantized_share"] == 1.0 and facts["unquantized"] == []


def test_routers_and_experts_are_counted_apart(tmp_path: Path) -> None:
    names = ("blk.0.ffn_gate_inp.weight", "blk.0.ffn_up_exps.weight", "blk.0.ffn_gate_up_exps.weight", "norm")
    path = write(tmp_path / "model.gguf", dict(zip(names, (F32, Q4_K, NVFP4, F32), strict=True)))
    assert build.facts(path)["experts"] == {"router": {"F32": 1}, "experts": {"NVFP4": 1, "Q4_K": 1}}


def test_a_file_without_its_last_bytes_has_no_facts(tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", {"a": Q4_K})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="truncated"):
        build.facts(path)
