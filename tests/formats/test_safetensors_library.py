"""The safetensors parser against the safetensors library, on the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from edgehone.core.errors import ModelError
from edgehone.formats.safetensors import read_header
from edgehone.model.huggingface import INDEX, read_weights

DTYPES = ("bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8")
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name != "__metadata__"
)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
ARRAYS = st.builds(lambda dtype, shape: np.ones(shape, dtype), st.sampled_from(DTYPES), SHAPES)
# The library (0.8) writes invalid JSON for empty metadata.
METADATA = st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=9), min_size=1, max_size=3)
SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def library_view(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name → (dtype, shape), as the library reads them."""
    with safetensors.safe_open(path, framework="numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def our_view(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in read_header(path).items()}


@SETTINGS
@given(st.dictionaries(NAMES, ARRAYS, max_size=6), METADATA)
def test_names_types_shapes_and_offsets_agree(
    tmp_path: Path, arrays: dict[str, Any], metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "m.safetensors"
    save_file(arrays, path, metadata)
    assert our_view(path) == library_view(path)
    content = path.read_bytes()
    data = content[8 + int.from_bytes(content[:8], "little") :]
    for name, tensor in read_header(path).items():
        assert data[tensor.start : tensor.end] == arrays[name].tobytes()


@SETTINGS
@given(
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 40),
    arrays=st.dictionaries(st.sampled_from("abc"), ARRAYS, min_size=1, max_size=3),
)
def test_a_mutated_file_is_refused_or_read_alike(
    tmp_path: Path, edits: list[tuple[int, int]], cut: int, arrays: dict[str, Any]
) -> None:
    path = tmp_path / "m.safetensors"
    save_file(arrays, path)
    content = bytearray(path.read_bytes())
    for position, byte in edits:
        content[position % len(content)] = byte
    path.write_bytes(content[: len(content) - cut if cut > 30 else len(content)])
    try:
        ours = our_view(path)
    except ModelError as error:
        assert str(path) in error.message
        return
    assert ours == library_view(path)


@SETTINGS
@given(st.dictionaries(NAMES, ARRAYS.filter(lambda array: array.size), min_size=2, max_size=6), st.data())
def test_shards_add_up_to_the_same_tensors(
    tmp_path: Path, arrays: dict[str, Any], data: st.DataObject
) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    shard_of = {name: f"s{data.draw(st.integers(0, 2))}.safetensors" for name in arrays}
    for shard in set(shard_of.values()):
        save_file({n: array for n, array in arrays.items() if shard_of[n] == shard}, tmp_path / shard)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": shard_of}))
    weights = read_weights(tmp_path)
    views = [library_view(tmp_path / shard) for shard in set(shard_of.values())]
    assert weights.names == {name for view in views for name in view}
    assert sum(weights.dtypes.values()) == sum(array.size for array in arrays.values())


@pytest.mark.parametrize("name", ["tensor", 'ü\n"\\', "\x00"])
def test_unusual_names_agree(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.safetensors"
    save_file({name: np.zeros(3, "f4")}, path)
    assert our_view(path) == library_view(path)
