"""The GGUF parser against the gguf library, on the same files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edgehone.core.errors import ModelError
from edgehone.formats.gguf import Header, _types, file_type, read_header
from edgehone.model.gguf import read

SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
TYPES = sorted(gguf.GGML_QUANT_SIZES)
NAMES = st.text("abc.é_0", min_size=1, max_size=20)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "uint8": st.integers(0, 2**8 - 1), "int8": st.integers(-(2**7), 2**7 - 1),
    "uint16": st.integers(0, 2**16 - 1), "int16": st.integers(-(2**15), 2**15 - 1),
    "uint32": st.integers(0, 2**32 - 1), "int32": st.integers(-(2**31), 2**31 - 1),
    "uint64": st.integers(0, 2**64 - 1), "int64": st.integers(-(2**63), 2**63 - 1),
    "float32": st.floats(width=32, allow_nan=False), "float64": st.floats(allow_nan=False),
    "bool": st.booleans(), "string": st.text(min_size=1, max_size=9),
    "array": st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5)
    | st.lists(st.text(max_size=4), min_size=1, max_size=5),
}  # fmt: skip
VALUES = st.sampled_from(sorted(SCALARS)).flatmap(lambda kind: st.tuples(st.just(kind), SCALARS[kind]))
# A GGML type, blocks in a row, and the other dimensions.
TENSORS = st.tuples(
    st.sampled_from(TYPES), st.integers(1, 2), st.lists(st.integers(1, 3), max_size=3).map(tuple)
)


def write(path: Path, values: dict[str, tuple[str, Any]], tensors: dict[str, Any], **options: Any) -> None:
    writer = gguf.GGUFWriter(path, "llama", **options)
    for key, (kind, value) in values.items():
        getattr(writer, f"add_{kind}")(f"test.{key}", value)
    for name, (number, blocks, others) in tensors.items():
        tensor_type = gguf.GGMLQuantizationType(number)
        size = blocks * gguf.GGML_QUANT_SIZES[tensor_type][1]
        writer.add_tensor(name, np.ones((*others, size), np.uint8), raw_dtype=tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def library_tensors(path: Path) -> dict[str, tuple[str, list[int], int]]:
    reader = gguf.GGUFReader(path)
    return {t.name: (t.tensor_type.name, t.shape.tolist(), int(t.n_bytes)) for t in reader.tensors}


def our_tensors(header: Header) -> dict[str, tuple[str, list[int], int]]:
    return {name: (t.type.name, list(t.dims), t.bytes) for name, t in header.tensors.items()}


@SETTINGS
@given(st.dictionaries(NAMES, VALUES, max_size=6), st.dictionaries(NAMES, TENSORS, max_size=4))
def test_values_and_tensors_agree(
    tmp_path: Path, values: dict[str, tuple[str, Any]], tensors: dict[str, Any]
) -> None:
    path = tmp_path / "m.gguf"
    write(path, values, tensors)
    header = read_header(path)
    assert our_tensors(header) == library_tensors(path)
    fields = gguf.GGUFReader(path).fields
    for key, (kind, value) in values.items():
        name = f"test.{key}"
        if kind == "array":
            assert header.lengths[name] == len(value) == len(fields[name].contents())
        if kind != "array" or not isinstance(value[0], str):
            assert header.values[name] == fields[name].contents()
    assert {*header.values, *header.lengths} == {name for name in fields if not name.startswith("GGUF.")}


@SETTINGS
@given(st.dictionaries(NAMES, TENSORS, min_size=1, max_size=6))
def test_data_lies_where_the_library_finds_it(tmp_path: Path, tensors: dict[str, Any]) -> None:
    path = tmp_path / "m.gguf"
    write(path, {}, tensors)
    header, reader = read_header(path), gguf.GGUFReader(path)
    for tensor in reader.tensors:
        assert header.tensors[tensor.name].start == tensor.data_offset - reader.data_offset


@SETTINGS
@given(st.dictionaries(NAMES, TENSORS, min_size=2, max_size=6))
def test_a_split_model_has_the_tensors_of_all_its_files(tmp_path: Path, tensors: dict[str, Any]) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    write(tmp_path / "m.gguf", {}, tensors, split_max_tensors=1)
    files = sorted(tmp_path.glob("*.gguf"))
    info = read(files[0])
    found = [tensor for file in files for tensor in gguf.GGUFReader(file).tensors]
    assert info.files == tuple(file.name for file in files) and len(files) == len(tensors)
    assert info.parameters == sum(int(tensor.n_elements) for tensor in found)
    assert set(info.dtypes) == {tensor.tensor_type.name for tensor in found}


@SETTINGS
@given(
    edits=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.sampled_from([0, 0, 0, 1, 40]),
    tensors=st.dictionaries(NAMES, TENSORS, min_size=1, max_size=3),
)
def test_a_mutated_file_is_refused_or_read_alike(
    tmp_path: Path, edits: list[tuple[int, int]], cut: int, tensors: dict[str, Any]
) -> None:
    path = tmp_path / "m.gguf"
    write(path, {"k": ("uint32", 7), "s": ("string", "text"), "a": ("array", [1, 2])}, tensors)
    content = bytearray(path.read_bytes())
    for position, byte in edits:
        content[position % len(content)] = byte
    path.write_bytes(content[: len(content) - cut])
    try:
        header = read_header(path)
    except ModelError as error:
        assert str(path) in error.message
        return
    assume(all("\\x" not in name for name in (*header.tensors, *header.values, *header.lengths)))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        assert our_tensors(header) == library_tensors(path)


def test_the_tables_of_types_are_those_of_the_library() -> None:
    for tensor_type, (block, size) in gguf.GGML_QUANT_SIZES.items():
        ours = _types()[int(tensor_type)]
        assert (ours.name, ours.block, ours.bytes) == (tensor_type.name, block, size)


@pytest.mark.parametrize("number", sorted(set(gguf.LlamaFileType) - {gguf.LlamaFileType.GUESSED}))
def test_file_types_have_the_names_of_the_library(number: gguf.LlamaFileType) -> None:
    name = number.name.removeprefix("ALL_").removeprefix("MOSTLY_")
    assert file_type(int(number)) in (name, None)
