"""How the folder of an encoder says that a text becomes one vector.

sentence-transformers lists modules in modules.json: the encoder, a pooling of its hidden states, and often a scaling to
length 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from edgehone.model.config import read_bytes, read_object

Pooling = Literal["mean", "cls", "max", "lasttoken"]
_MODULES = "modules.json"
# Models that reserve the first positions for padding.
_RESERVING = ("roberta", "xlm-roberta", "camembert")
_MAX_TOKENS = 512  # the usual training length of encoders, for those that state none


@dataclass(frozen=True)
class Embedding:
    """How a vector is made of a text.

    `pooling` of the hidden states of all tokens, `normalize` to length 1; a text has at most `max_tokens`, after
    `prompt`, which is put before it.
    """

    pooling: Pooling
    normalize: bool
    max_tokens: int
    prompt: str = ""


class _Unknown(Exception):
    """The folder asks for something that is not known here."""


def read_embedding(folder: Path) -> dict[str, Any]:
    """Return the fields of `Embedding`, or {"refused": why} for a folder that states no pooling, or one not known."""
    try:
        return asdict(_read(folder))
    except _Unknown as reason:
        return {"refused": str(reason)}


def _read(folder: Path) -> Embedding:
    if not (folder / _MODULES).is_file():
        raise _Unknown("the model states no pooling: it has no modules.json of sentence-transformers")
    modules = json.loads(read_bytes(folder / _MODULES))
    kinds = [str(one.get("type", "")).rpartition(".")[2] for one in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise _Unknown(
            f"its vectors are made by {' → '.join(kinds)}: only Transformer → Pooling → Normalize is known"
        )
    pooling = _config(folder / str(modules[1].get("path", "")) / "config.json")
    return Embedding(_pooling(pooling), len(kinds) > 2, _max_tokens(folder), _prompt(folder, pooling))


def _config(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def _pooling(config: Mapping[str, Any]) -> Pooling:
    stated = config.get("pooling_mode")  # newer versions
    modes = [stated] if stated else [
        name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for name, used in sorted(config.items())
        if name.startswith("pooling_mode_") and used is True
    ]  # fmt: skip
    known: tuple[Pooling, ...] = get_args(Pooling)
    for one in known:
        if modes == [one]:
            return one
    raise _Unknown(
        f"its pooling is {' and '.join(map(str, modes)) or 'not stated'}; known are {', '.join(known)}"
    )


def _max_tokens(folder: Path) -> int:
    encoder, own = _config(folder / "config.json"), _config(folder / "sentence_bert_config.json")
    if own.get("do_lower_case"):
        raise _Unknown("sentence_bert_config.json asks for lower case, which the tokenizer does not know of")
    reserved = int(encoder.get("pad_token_id") or 0) + 1 if encoder.get("model_type") in _RESERVING else 0
    positions = encoder.get("max_position_embeddings")
    stated = [own.get("max_seq_length"), positions and positions - reserved]
    stated.append(_config(folder / "tokenizer_config.json").get("model_max_length"))
    return int(min((one for one in stated if isinstance(one, (int, float)) and one > 0), default=_MAX_TOKENS))


def _prompt(folder: Path, pooling: Mapping[str, Any]) -> str:
    config = _config(folder / "config_sentence_transformers.json")
    name = config.get("default_prompt_name")
    prompt = (config.get("prompts") or {}).get(name, "") if name else ""
    if prompt and pooling.get("include_prompt") is False:
        raise _Unknown("its pooling leaves the tokens of the prompt out")
    return str(prompt)
