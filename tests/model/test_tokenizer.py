from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgehone.core.errors import ModelError
from edgehone.model.tokenizer import has_chat_template, read_kind

SOUND = json.dumps(
    {"model": {"type": "BPE", "vocab": {"é😀": 0}}, "added_tokens": [1, {}]}, ensure_ascii=False
)


def described(folder: Path, text: str | bytes) -> Path:
    (folder / "tokenizer.json").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (SOUND, "bpe"),
        (' { "a" : [ 1 ] , "model" : { "vocab" : {} , "type" : "Unigram" } } \n', "unigram"),
        ('{"model": {"type": "WordPiece"}}', "wordpiece"),
        ('{"model": {"vocab": {}, "merges": []}}', "bpe"),
        ('{"model": {"vocab": {}}}', "wordpiece"),
        ('{"decoder": {"model": 1, "type": "x"}, "model": {"type": "BPE"}}', "bpe"),
    ],
)
def test_the_kind_that_tokenizer_json_names(tmp_path: Path, text: str, kind: str) -> None:
    assert read_kind(described(tmp_path, text)) == kind


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"model": 3}', '{"model": {"type": "BPE"}', '{"model": {"type": "BPE"}} x',
     '{"model": {"type": "BPE",}}', '{"model": {"type": "BPE"},}', '{"model" {"type": "BPE"}}', "{3: 4}",
     b'{"model": {"type": "\xff"}}', b"\0\0\0"],
)  # fmt: skip
def test_a_broken_tokenizer_json(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        read_kind(described(tmp_path, text))


def test_a_sentencepiece_model_decides_the_kind_but_tokenizer_json_must_be_valid(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")
    assert read_kind(described(tmp_path, SOUND)) == "sentencepiece"
    with pytest.raises(ModelError):
        read_kind(described(tmp_path, SOUND[:-1]))


def test_a_tiktoken_file_under_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    assert read_kind(tmp_path) == "tiktoken"


@pytest.mark.parametrize("data", [b"", b"\0\0", b"<html>", b"version https://git-lfs"])
def test_a_broken_sentencepiece_model(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(ModelError, match=r"tokenizer\.model"):
        read_kind(tmp_path)


def test_vocabulary_files(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[UNK]\n")
    assert read_kind(tmp_path) == "wordpiece"
    (tmp_path / "vocab.json").write_text("{}")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    assert read_kind(tmp_path) == "bpe"


def test_no_tokenizer_names_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.model.*tokenizer\.json"):
        read_kind(tmp_path)


def test_chat_templates(tmp_path: Path) -> None:
    assert not has_chat_template(tmp_path, {"chat_template": None})
    assert has_chat_template(tmp_path, {"chat_template": "x"})
    (tmp_path / "chat_template.jinja").write_text("x")
    assert has_chat_template(tmp_path, {})


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(SOUND.encode()) - 1), byte=st.integers(0, 255))
def test_any_mutation_is_read_as_json_reads_it(tmp_path: Path, place: int, byte: int) -> None:
    data = bytearray(SOUND.encode())
    data[place] = byte
    try:
        model = json.loads(data.decode())["model"]
        sound = isinstance(model, dict)
    except (ValueError, KeyError):
        sound = False
    try:
        read_kind(described(tmp_path, bytes(data)))
        assert sound
    except ModelError:
        assert not sound
