from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import ModelError
from edgehone.formats.safetensors import parse_header, read_header

SOUND: dict[str, Any] = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
    "none": {"dtype": "I64", "shape": [0, 7], "data_offsets": [26, 26]},
}
PATH = Path("m.safetensors")


def save(path: Path, header: bytes, data: int) -> Path:
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(data))
    return path


def test_a_valid_file_is_read(tmp_path: Path) -> None:
    tensors = read_header(save(tmp_path / "m", json.dumps(SOUND).encode() + b"   ", 26))
    assert list(tensors) == ["a", "b", "none"]
    assert (tensors["a"].dtype, tensors["a"].shape, tensors["a"].elements) == ("F32", (2, 3), 6)
    assert [tensor.elements for tensor in tensors.values()] == [6, 1, 0]


@pytest.mark.parametrize(("data", "word"), [(25, "truncated"), (27, "longer")])
def test_a_wrong_size_names_expected_and_found(tmp_path: Path, data: int, word: str) -> None:
    header = json.dumps(SOUND).encode()
    path = save(tmp_path / "shard-1.safetensors", header, data)
    with pytest.raises(ModelError, match=word) as caught:
        read_header(path)
    assert "shard-1.safetensors" in caught.value.message
    assert f"expected {8 + len(header) + 26} bytes, found {8 + len(header) + data}" in caught.value.message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 bytes"),
        (b"1234567", "7 bytes"),
        ((2**63).to_bytes(8, "little") + b"{}", str(2**63)),
        ((100_000_001).to_bytes(8, "little") + b"{}", "above the format's"),
        ((50).to_bytes(8, "little") + b"{}", "does not fit"),
        (b"version https://git-lfs", "git lfs pull"),
    ],
)
def test_a_wrong_length_field(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert said in f"{caught.value.message} {caught.value.hint}"


def changed(name: str, **fields: Any) -> bytes:
    return json.dumps({**SOUND, name: {**SOUND.get(name, {}), **fields}}).encode()


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"[]", "does not start with"),
        (b" {}", "does not start with"),
        (b"{", "not valid JSON"),
        (b"{}x", "not valid JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"\xff": 1}', "not valid JSON"),
        (b'{"a": ' + b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": 1, "a": 1}', "'a' occurs twice"),
        (b'{"__metadata__": {"x": 1}}', "__metadata__"),
        (b'{"a": 3}', "'a' is described by 3"),
        (changed("a", dtype="Q9"), "unknown dtype 'Q9'"),
        (changed("a", dtype=[]), "unknown dtype"),
        (changed("a", shape=[-2, -3]), "has the invalid shape [-2, -3]"),
        (changed("a", shape=[2.0, 3]), "has the invalid shape"),
        (changed("a", shape=[True, 6]), "has the invalid shape"),
        (changed("a", shape=[1] * 65), "has the invalid shape"),
        (changed("a", shape=[2**64]), "has the invalid shape"),
        (changed("a", shape=[2**63] * 64), "needs "),
        (changed("a", data_offsets=[0, 23]), "needs 24 bytes"),
        (changed("a", data_offsets=[24, 0]), "span -24"),
        (changed("a", data_offsets=[0]), "data_offsets [0]"),
        (changed("b", data_offsets=[23, 25]), "overlaps"),
        (changed("b", data_offsets=[25, 27]), "leaves a gap"),
        (changed("a", dtype="F4", shape=[3]), "needs 2 bytes"),
    ],
)
def test_each_violation_is_refused_with_its_value(header: bytes, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_header(PATH, header)
    assert said in caught.value.message
    assert "m.safetensors" in caught.value.message


def test_packed_dtypes_count_bits() -> None:
    header = {"a": {"dtype": "F4", "shape": [4, 4], "data_offsets": [0, 8]}}
    assert parse_header(PATH, json.dumps(header).encode())["a"].elements == 16


def test_a_missing_file() -> None:
    with pytest.raises(ModelError, match="cannot read"):
        read_header(Path("nowhere/m.safetensors"))


def sound_or_refused(call: Callable[[], object]) -> None:
    try:
        call()
    except ModelError as error:
        assert error.hint
        error.message.encode()


@given(st.data())
def test_any_mutation_is_read_or_refused(data: st.DataObject) -> None:
    header = bytearray(json.dumps(SOUND).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(header) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        byte = data.draw(st.integers(0, 255))
        if kind == "flip":
            header[place] = byte
        elif kind == "cut" and len(header) > 1:
            del header[place]
        else:
            header.insert(place, byte)
    sound_or_refused(lambda: parse_header(PATH, bytes(header)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), JSON | st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "F4"]) | JSON, "shape": st.lists(st.integers(-1, 4)) | JSON,
     "data_offsets": st.lists(st.integers(-1, 9), max_size=3) | JSON}), max_size=3))  # fmt: skip
def test_any_json_is_read_or_refused(header: dict[str, Any]) -> None:
    sound_or_refused(lambda: parse_header(PATH, json.dumps(header).encode()))
