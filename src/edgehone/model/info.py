"""ModelInfo: the facts about a model, read from its files without loading its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgehone.formats.graph import Tensor

__all__ = ["FILES", "LANGUAGE_TASKS", "Kind", "LargeTensor", "ModelInfo", "Tensor"]

# The kind decides the evaluation: a language model's next tokens are compared, a graph's outputs.
Kind = Literal["language", "graph"]
# Formats in which a model is a file, not a folder.
FILES = ("onnx", "torch-export", "gguf")
LANGUAGE_TASKS = ("text-generation", "image-text-to-text", "unknown")


@dataclass(frozen=True)
class LargeTensor:
    """A tensor that holds a considerable part of a GGUF file: its GGML type, elements, and the length of its rows."""

    name: str
    type: str
    elements: int
    row: int
    bytes: int


@dataclass(frozen=True)
class ModelInfo:
    """The facts about a model that its files state. None: not stated."""

    path: Path  # a folder, or the file of a single-file model
    format: str  # "huggingface", "onnx", "torch-export", "gguf"
    architecture: str  # as named in config.json: "LlamaForCausalLM"
    model_type: str  # "llama"
    # "text-generation", "feature-extraction" and "text-classification" (encoders), "image-text-to-text"
    # (multi-modal), "graph" (ONNX and exported programs), "unknown"
    task: str
    parameters: int
    bytes: int  # of the weight files
    dtypes: Mapping[str, int]  # dtype as named by safetensors ("BF16") -> number of parameters stored in it
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
    quantized: str | None = None  # quantization method of a checkpoint that is already quantized
    remote_code: bool = False
    # Keys and values of all layers that have a KV cache, at 2 bytes per element (`model.kv_cache`), and the part of
    # those in layers whose cache stops at the sliding window.
    kv_bytes_per_token: int | None = None
    kv_windowed_bytes_per_token: int = 0
    large_tensors: tuple[LargeTensor, ...] = ()  # of a GGUF file: those of at least a tenth of its bytes
    notes: tuple[str, ...] = field(default=())
    # of a graph; an encoder's inputs are the outputs of its tokenizer
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    opset: int | None = None
    attention: bool = False  # an ONNX graph has a softmax between two matrix products
    operators: tuple[str, ...] = ()  # sorted; "domain::Name" except in the default domain of ONNX

    @property
    def kind(self) -> Kind:
        """How the model is evaluated and measured."""
        return "language" if self.task in LANGUAGE_TASKS else "graph"

    @property
    def folder(self) -> Path:
        """The folder of the model's files: `path` itself, or the folder that contains it."""
        return self.path.parent if self.format in FILES else self.path

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict, with paths as strings and tuples as lists, that JSON preserves."""
        data = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        for name in ("inputs", "outputs"):
            data[name] = [{**tensor, "shape": list(tensor["shape"])} for tensor in data[name]]
        return {**data, "path": str(self.path)}
