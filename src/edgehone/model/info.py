"""ModelInfo: the facts about a model, read from its files without loading its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgehone.formats.graph import Tensor

__all__ = ["FILES", "LANGUAGE_TASKS", "Kind", "ModelInfo", "Tensor"]

# What is asked of a model decides how it is judged: a language model by its next tokens, a graph by its outputs.
Kind = Literal["language", "graph"]
# Formats of which a model is a file, not a folder.
FILES = ("onnx", "torch-export", "gguf")
LANGUAGE_TASKS = ("text-generation", "image-text-to-text", "unknown")


@dataclass(frozen=True)
class ModelInfo:
    """What the files say. `None` is 'the files do not say'."""

    path: Path  # a folder, or the file of a model that is one
    format: str  # "huggingface", "onnx", "torch-export", "gguf"
    architecture: str  # as config.json names it: "LlamaForCausalLM"
    model_type: str  # "llama"
    # "text-generation", "feature-extraction" and "text-classification" (encoders), "image-text-to-text"
    # (multi-modal), "graph" (ONNX and exported programs: whatever it computes), "unknown"
    task: str
    parameters: int
    bytes: int  # of the weight files
    dtypes: Mapping[str, int]  # dtype as safetensors names it ("BF16") -> parameters stored in it
    files: tuple[str, ...]  # every file that determines the model, relative to `folder`, sorted
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
    # of a graph; an encoder's are those of its tokenizer and head
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    opset: int | None = None
    operators: tuple[str, ...] = ()  # "domain::Name" where the domain is not ONNX's own, sorted

    @property
    def kind(self) -> Kind:
        """How it is judged and measured."""
        return "language" if self.task in LANGUAGE_TASKS else "graph"

    @property
    def folder(self) -> Path:
        """Where its files lie: `path`, or the folder of the file that `path` is."""
        return self.path.parent if self.format in FILES else self.path

    def to_json(self) -> dict[str, Any]:
        """A plain dict, paths as strings and tuples as lists: what JSON gives back."""
        data = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        for name in ("inputs", "outputs"):
            data[name] = [{**tensor, "shape": list(tensor["shape"])} for tensor in data[name]]
        return {**data, "path": str(self.path)}
