"""Compare the shapes of stored weights with what config.json states, and recognize tensors that are no parameters.

Only what every toolchain needs and what is unambiguous is compared: the layers, and the rows of the embedding and of
the key projections.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError
from edgehone.formats.safetensors import Tensor

_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|embed_in)\.weight$")
_LAYER = r"^(?:(?:model|language_model|text_model)\.)*layers\.\d+\.self_attn\."
_BLOCK = re.compile(r"^(?:(?:model|language_model|text_model)\.)*layers\.(\d+)\.")
# config.json of models that predict several tokens ahead by layers after the last one, which transformers passes over.
_AHEAD = ("nextn", "mtp")
_KEYS, _QUERIES = (re.compile(_LAYER + name + r"_proj\.weight$") for name in "kq")
# Buffers that older checkpoints store: causal masks, and the frequencies of rotary embeddings.
_MASK = re.compile(r"\.(?:attn|attention)\.bias$")
_OTHER_BUFFERS = re.compile(r"\.(?:masked_bias|rotary_emb\.inv_freq|position_ids)$")
# A vocabulary in other parts of a multi-modal model is not the one that config.json states.
_OTHER_PARTS = ("vision", "visual", "audio", "encoder")


def is_buffer(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether a stored tensor is a buffer that the model's code computes, not a parameter."""
    mask = _MASK.search(name) is not None and len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3]
    return mask or _OTHER_BUFFERS.search(name) is not None


def check(
    headers: Mapping[str, Mapping[str, Tensor]],
    folder: Path,
    config: Mapping[str, Any],
    sizes: Mapping[str, Any],
) -> None:
    """Raise ModelError if layers are missing or left over, or the embedding or all keys have other rows than stated.

    `headers` are the tensors of each weight file, `config` the language model's part of config.json, `sizes` the sizes
    that it states. The message names the tensor, both shapes and both files.
    """
    _check_layers(headers, folder, config, sizes["layers"])
    stored = [
        (file, name, tensor.shape)
        for file, tensors in headers.items()
        for name, tensor in tensors.items()
        if len(tensor.shape) == 2 and not any(part in name for part in _OTHER_PARTS)
    ]
    vocabulary, hidden = sizes["vocabulary"], sizes["hidden_size"]
    embeddings = [one for one in stored if _EMBEDDING.search(one[1]) and one[2][1] == hidden]
    if vocabulary and len(embeddings) == 1 and embeddings[0][2][0] != vocabulary:
        raise _mismatch(folder, embeddings[0], "vocab_size", vocabulary, (vocabulary, hidden))
    keys = [one for one in stored if _KEYS.search(one[1])]
    width = sizes["head_dim"] if config.get("head_dim") is not None else _query_width(stored, sizes["heads"])
    # Some models have other heads in some layers; config.json then states more than one number.
    if not keys or not width or not sizes["kv_heads"] or len({shape for _, _, shape in keys}) > 1:
        return
    rows = sizes["kv_heads"] * width
    if keys[0][2][0] != rows:
        raise _mismatch(folder, keys[0], "num_key_value_heads", sizes["kv_heads"], (rows, keys[0][2][1]))


def _check_layers(
    headers: Mapping[str, Mapping[str, Tensor]], folder: Path, config: Mapping[str, Any], stated: int | None
) -> None:
    """Raise ModelError for a layer without a tensor, and for tensors of a layer after the last.

    Layers that are left over would be dropped by one toolchain without a word and refused by another.
    """
    names = [name for tensors in headers.values() for name in tensors]
    found = {int(match[1]) for name in names if (match := _BLOCK.match(name))}
    if not stated or not any(_KEYS.match(name) for name in names):
        return
    missing = sorted(set(range(stated)) - found)
    ahead = any(word in name for name in config for word in _AHEAD)
    beyond = [] if ahead else sorted(one for one in found if one >= stated)
    if missing or beyond:
        which = "lack" if missing else "also have"
        listed = ", ".join(str(one) for one in (missing or beyond)[:5])
        raise ModelError(
            f"{folder / 'config.json'} states {stated} layers (0 to {stated - 1}), and the weights {which} "
            f"layer{'s' * (len(missing or beyond) > 1)} {listed}",
            hint="the two files are from different models or config.json was edited: download both again",
        )


def _query_width(stored: Iterable[tuple[str, str, tuple[int, ...]]], heads: int | None) -> int | None:
    """Return the size of a head by the rows of the query projections; None if they differ or do not divide."""
    rows = {shape[0] for _, name, shape in stored if _QUERIES.search(name)}
    if len(rows) != 1 or not heads or (total := rows.pop()) % heads:
        return None
    return total // heads


def _mismatch(
    folder: Path, stored: tuple[str, str, tuple[int, ...]], field: str, stated: int, shape: tuple[int, ...]
) -> ModelError:
    file, name, found = stored
    return ModelError(
        f"{folder / file}: the tensor {name!r} has the shape {list(found)}, but by {folder / 'config.json'} "
        f"({field} {stated}) it is {list(shape)}",
        hint="the two files are from different models or config.json was edited: download both again",
    )
