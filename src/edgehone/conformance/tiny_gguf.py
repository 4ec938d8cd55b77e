"""Write a tiny GGUF file: a random Llama with one block and a vocabulary of the 256 bytes and a space.

Format: docs/gguf.md of ggml, version 3. It needs no framework, so the suite can generate the file anywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALIGNMENT = 32
_HIDDEN, _INTERMEDIATE, _HEADS = 64, 128, 2
# SentencePiece: the space has its own token; all other characters are encoded as bytes.
_TOKENS = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁")
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # llama_token_type
_F32 = 0  # ggml_type


def write(path: Path) -> Path:
    """Write the file and return its path. Its bytes are always the same."""
    head, data = [], []
    at = 0
    tensors = dict(_tensors())
    for name, array in tensors.items():
        # In GGUF the first dimension varies fastest.
        head.append(_text(name) + struct.pack(f"<I{array.ndim}QIQ", array.ndim, *array.shape[::-1], _F32, at))
        data.append(_padded(array.tobytes()))
        at += len(data[-1])
    values = _values()
    start = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    start += b"".join(_text(key) + _value(value) for key, value in values.items())
    path.write_bytes(_padded(start + b"".join(head)) + b"".join(data))
    return path


def _values() -> Mapping[str, Any]:
    return {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.context_length": 2048,
        "llama.embedding_length": _HIDDEN,
        "llama.feed_forward_length": _INTERMEDIATE,
        "llama.attention.head_count": _HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": _HIDDEN // _HEADS,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": list(_TOKENS),
        "tokenizer.ggml.scores": [0.0] * len(_TOKENS),
        "tokenizer.ggml.token_type": [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, _NORMAL],
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def _tensors() -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield tensors by name; matrices are [out, in], as in PyTorch."""
    import numpy as np

    random = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(_TOKENS), _HIDDEN),
        "blk.0.attn_q": (_HIDDEN, _HIDDEN),
        "blk.0.attn_k": (_HIDDEN, _HIDDEN),
        "blk.0.attn_v": (_HIDDEN, _HIDDEN),
        "blk.0.attn_output": (_HIDDEN, _HIDDEN),
        "blk.0.ffn_gate": (_INTERMEDIATE, _HIDDEN),
        "blk.0.ffn_up": (_INTERMEDIATE, _HIDDEN),
        "blk.0.ffn_down": (_HIDDEN, _INTERMEDIATE),
        "output": (len(_TOKENS), _HIDDEN),
    }
    for name, shape in shapes.items():
        yield f"{name}.weight", (random.normal(size=shape) / shape[1] ** 0.5).astype("<f4")
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        yield f"{name}.weight", np.ones(_HIDDEN, "<f4")


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> bytes:
    """Encode a value after its gguf_type: uint32, float32, a string, or an array of int32, float32 or strings."""
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        if isinstance(value[0], str):
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
        number, form = (6, "f") if isinstance(value[0], float) else (5, "i")
        return struct.pack(f"<IIQ{len(value)}{form}", 9, number, len(value), *value)
    return struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)


def _padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % _ALIGNMENT)
