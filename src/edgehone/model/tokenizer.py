"""Detect the kind of tokenizer in a model folder, and check that its files can be read."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError
from edgehone.model.config import JSON_LIMIT, read_bytes, read_object

# Searched in this order; the first that exists decides the kind.
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
LOOKED_FOR = (*SENTENCEPIECE, "tokenizer.json", "vocab.json with merges.txt", "vocab.txt", "tiktoken.model")

# All files that affect a tokenizer.
FILES = (
    *SENTENCEPIECE,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tiktoken.model",
    "chat_template.jinja",
    "chat_template.json",
)
# Those of them that hold one JSON object and are read whole.
CONFIGURATIONS = ("special_tokens_map.json", "added_tokens.json", "chat_template.json")
_BLANK = re.compile(r"[ \t\n\r]*")
_GAP = r"[ \t\n\r]*+"
_STRING = r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_NUMBER = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?"


def _list_of(element: str) -> str:
    return rf"{_GAP}{element}(?:{_GAP},{_GAP}{element})*+{_GAP}"


# A whole vocabulary ({"token": id}), list of merges ([["a", "b"]] or ["a b"]) or of scored pieces ([["piece", -1.5]]).
# It is skipped as text: creating objects for a million entries took 1.2 s and 120 MB.
_ROW = rf"\[{_list_of(f'(?:{_STRING}|{_NUMBER})')}\]"
_TABLE = re.compile(
    rf"\{{{_list_of(f'{_STRING}{_GAP}:{_GAP}{_NUMBER}')}\}}|\[{_list_of(f'(?:{_STRING}|{_ROW})')}\]"
)
_HINT = "the file is damaged: download or copy it again"


def read_kind(folder: Path) -> str:
    """Return "sentencepiece", "bpe", "unigram", "wordpiece", "wordlevel" or "tiktoken".

    Raises ModelError if there is no tokenizer, or one of its files is damaged.
    """
    described = folder / "tokenizer.json"
    kind = _described_kind(described) if described.exists() else None
    for name in SENTENCEPIECE:
        if (folder / name).exists():
            return _binary_kind(folder / name)
    if kind is not None:
        return kind
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        read_object(folder / "vocab.json")
        return "bpe"
    if (folder / "vocab.txt").exists():
        return "wordpiece"
    if (folder / "tiktoken.model").exists():
        return "tiktoken"
    raise ModelError(
        f"no tokenizer in {folder}: looked for {', '.join(LOOKED_FOR)}",
        hint="copy the tokenizer files of the original model into the folder",
    )


def beyond(folder: Path, config: Mapping[str, Any], rows: int | None) -> list[str]:
    """Return a note on added tokens whose ids are beyond the `rows` of the embedding.

    They are read from tokenizer.json, added_tokens.json and tokenizer_config.json (`config`).
    """
    tokens = dict[str, int]()
    if (folder / "added_tokens.json").is_file():
        tokens |= {
            text: i for text, i in read_object(folder / "added_tokens.json").items() if isinstance(i, int)
        }
    decoder = config.get("added_tokens_decoder")
    for i, one in decoder.items() if isinstance(decoder, dict) else ():
        if str(i).isdigit() and isinstance(one, dict):
            tokens[str(one.get("content"))] = int(i)
    for one in _added(folder / "tokenizer.json"):
        if isinstance(one, dict) and isinstance(one.get("id"), int):
            # The file was read as Latin-1.
            tokens[str(one.get("content")).encode("latin-1", "replace").decode("utf-8", "replace")] = one[
                "id"
            ]
    over = sorted((i, text) for text, i in tokens.items() if rows and i >= rows)
    if not over:
        return []
    more = f" and {len(over) - 1} more" if len(over) > 1 else ""
    return [
        f"the tokenizer has {over[0][1]!r} as id {over[0][0]}{more}, beyond the {rows} rows of the embedding: a text "
        "that contains it cannot be run"
    ]


def _added(path: Path) -> list[Any]:
    """Return the entries `added_tokens` of a tokenizer.json, which is otherwise skipped; [] if there are none."""
    if not path.is_file():
        return []
    text = _latin(path)
    at = text.find('"added_tokens"')
    if at < 0:
        return []
    try:
        found, _ = _DECODER.raw_decode(text, _expect(text, at + len('"added_tokens"'), ":"))
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def has_chat_template(folder: Path, config: dict[str, object]) -> bool:
    """Return True if tokenizer_config.json (`config`) or another file in the folder has a chat template."""
    if config.get("chat_template"):
        return True
    return any((folder / name).exists() for name in ("chat_template.jinja", "chat_template.json"))


def _binary_kind(path: Path) -> str:
    head = read_bytes(path)[:64]
    if head[:1] == b"\n":  # protobuf field 1, length-delimited: the first piece of a SentencePiece model
        return "sentencepiece"
    if re.match(rb"[A-Za-z0-9+/]+=* \d+\n", head):  # base64 token, rank
        return "tiktoken"
    raise ModelError(f"{path} is not a SentencePiece model: it starts with {head[:8]!r}", hint=_HINT)


def _described_kind(path: Path) -> str:
    text = _latin(path)
    try:
        model = _walk(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}", hint=_HINT) from error
    if model is None:
        raise ModelError(f"{path} has no object named 'model', so it is not a tokenizer", hint=_HINT)
    kind, keys = model
    if kind is not None:
        return kind.lower()
    return "bpe" if "merges" in keys else "wordpiece"  # files older than the field `type`


def _latin(path: Path) -> str:
    """Return the file decoded as Latin-1, after checking that it is UTF-8. The syntax of JSON is ASCII in both.

    One byte per character keeps a tokenizer.json of 33 MB at 33 MB; as wide Python text it can take 132 MB.
    """
    data = read_bytes(path, JSON_LIMIT)
    try:
        decoder = codecs.getincrementaldecoder("utf-8")()
        for start in range(0, len(data), 1 << 20):
            decoder.decode(data[start : start + (1 << 20)])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is not valid JSON: it is not UTF-8 ({error.reason})", hint=_HINT) from error
    return data.decode("latin-1")


def _walk(text: str) -> tuple[str | None, set[str]] | None:
    """Return `type` and the keys of the top-level object `model`. Everything else is parsed and discarded."""
    model: tuple[str | None, set[str]] | None = None
    position = _expect(text, 0, "{")
    while True:
        key, position = _key(text, position)
        if key is None:
            break
        if key == "model" and text[position : position + 1] == "{":
            model, position = _walk_model(text, position)
        else:
            _, position = _DECODER.raw_decode(text, position)
        position = _next(text, position)
    if _skip(text, position) != len(text):
        raise ValueError(f"extra data at byte {position}")
    return model


def _walk_model(text: str, position: int) -> tuple[tuple[str | None, set[str]], int]:
    kind: str | None = None
    keys: set[str] = set()
    position = _expect(text, position, "{")
    while True:
        key, position = _key(text, position)
        if key is None:
            return (kind, keys), position
        keys.add(key)
        table = _TABLE.match(text, position)
        if table is not None:
            position = _next(text, table.end())
            continue
        value, position = _DECODER.raw_decode(text, position)
        if key == "type" and isinstance(value, str):
            kind = value
        position = _next(text, position)


_DECODER = json.JSONDecoder()


def _skip(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _expect(text: str, position: int, sign: str) -> int:
    position = _skip(text, position)
    if text[position : position + 1] != sign:
        raise ValueError(f"expected {sign!r} at byte {position}, found {text[position : position + 1]!r}")
    return _skip(text, position + 1)


def _key(text: str, position: int) -> tuple[str | None, int]:
    """Return the key at `position` and the start of its value, or None and the end if the object closes there."""
    if text[position : position + 1] == "}":
        return None, position + 1
    key, position = _DECODER.raw_decode(text, position)
    if not isinstance(key, str):
        raise ValueError(f"expected a key before byte {position}, found {key!r}")
    return key, _expect(text, position, ":")


def _next(text: str, position: int) -> int:
    """Return the position after the comma, or of the closing bracket."""
    position = _skip(text, position)
    if text[position : position + 1] == ",":
        position = _skip(text, position + 1)
        if text[position : position + 1] == "}":
            raise ValueError(f"expected a key at byte {position}, found '}}'")
        return position
    if text[position : position + 1] != "}":
        raise ValueError(f"expected ',' or '}}' at byte {position}")
    return position
