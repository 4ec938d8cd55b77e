"""ModelInfo: the facts about a model, read from its files without loading its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelInfo:
    """What the files say. `None` is 'the files do not say'."""

    path: Path
    format: str  # "huggingface"
    architecture: str  # as config.json names it: "LlamaForCausalLM"
    model_type: str  # "llama"
    task: str  # "text-generation" or "unknown"
    parameters: int
    bytes: int  # of the weight files
    dtypes: Mapping[str, int]  # dtype as safetensors names it ("BF16") -> parameters stored in it
    files: tuple[str, ...]  # every file that determines the model, relative, sorted
    layers: int | None = None
    hidden_size: int | None = None
    intermediate_size: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    vocabulary: int | None = None
    context: int | None = None
    experts: int | None = None
    experts_per_token: int | None = None
    tied_embeddings: bool | None = None
    sliding_window: int | None = None
    licence: str | None = None
    tokenizer: str | None = None  # "sentencepiece", "bpe", "unigram", "wordpiece"
    chat_template: bool = False
    quantized: str | None = None  # quant_method of a checkpoint that is quantized already
    remote_code: bool = False
    kv_bytes_per_token: int | None = None  # at 2 bytes an element, all layers, keys and values
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """A plain dict, paths as strings and tuples as lists: what JSON gives back."""
        lists = {"files": list(self.files), "notes": list(self.notes)}
        return {**asdict(self), **lists, "path": str(self.path)}
