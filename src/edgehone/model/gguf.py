"""The facts about a GGUF model, from the keys and tensors of its header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.core.absence import why_absent
from edgehone.core.errors import ModelError
from edgehone.formats.gguf import Header, Tensor, file_type, read_header
from edgehone.model import config, kv_cache
from edgehone.model.info import LargeTensor, ModelInfo
from edgehone.model.licence import read_licence

# The share of a file's bytes from which a single tensor is worth another type.
LARGE = 0.1
FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
PLAIN = FLOATS | {"I8", "I16", "I32", "I64"}
# Architectures of llama.cpp that compute embeddings, not next tokens.
ENCODERS = frozenset({
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert",
    "gemma-embedding", "llama-embed", "t5encoder",
})  # fmt: skip
# Language models of vision-language models; those of others have architectures that plain language models have, too.
_WITH_PICTURES = ("qwen2vl", "qwen3vl", "qwen3vlmoe")
_NOT_MODELS = {"t5": "an encoder-decoder"}
_TOKENIZERS = {"llama": "sentencepiece", "gpt2": "bpe", "bert": "wordpiece", "t5": "unigram"}
# Architectures with a state space and attention in every layer.
_ATTENTION_EVERYWHERE = ("falcon-h1",)
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)


@dataclass(frozen=True)
class _Model:
    """The header of the first file, and the tensors of all files."""

    path: Path
    values: dict[str, Any]
    header: Header
    tensors: dict[str, Tensor]
    files: tuple[str, ...]
    architecture: str

    def number(self, key: str) -> int | None:
        """Return the positive integer under a key of the architecture, or None if it is missing or 0."""
        return self._positive(f"{self.architecture}.{key}", self.values.get(f"{self.architecture}.{key}"))

    @property
    def layers(self) -> int | None:
        """The number of layers, or None if it is missing. Raises ModelError if no model has so many."""
        layers = self.number("block_count")
        return layers and config.check_layers(layers, f"{self.architecture}.block_count", self.path)

    def numbers(self, key: str) -> list[int] | int | None:
        """Return the same, or a list with one value per layer, 0 for layers without one."""
        name = f"{self.architecture}.{key}"
        value = self.values.get(name)
        if isinstance(value, list):
            return [self._positive(name, entry) or 0 for entry in value]
        return self._positive(name, value)

    def _positive(self, name: str, value: Any) -> int | None:
        if value is None or value == 0 or isinstance(value, list):
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 2**40:
            raise ModelError(
                f"{self.path}: {name} is {repr(value)[:80]}, not a positive integer",
                hint="convert the model again from its original",
            )
        return value


def read(path: Path) -> ModelInfo:
    """Read the facts about the model in the file `path` and, if it is split, its other files.

    Raises ModelError if a file is damaged or missing, or holds an adapter or importance matrix.
    """
    model = _load(path)
    dtypes: Counter[str] = Counter()
    for tensor in model.tensors.values():
        dtypes[tensor.type.name] += tensor.elements
    if not dtypes.total():
        raise ModelError(f"{path} holds no parameters", hint="give the file with the model's weights")
    task, notes = _task(model)
    heads = model.numbers("attention.head_count")
    kv_heads = model.numbers("attention.head_count_kv")
    key_length, _ = _lengths(model)
    cache = _cache(model) if task == "text-generation" else kv_cache.Growth(None)
    wide = model.numbers("feed_forward_length")
    return ModelInfo(
        path=path,
        format="gguf",
        architecture=model.architecture,
        model_type=model.architecture,
        task=task,
        parameters=dtypes.total(),
        bytes=sum((path.parent / name).stat().st_size for name in model.files),
        dtypes=dict(sorted(dtypes.items())),
        files=model.files,
        layers=model.layers,
        hidden_size=model.number("embedding_length"),
        intermediate_size=max(wide, default=0) or None if isinstance(wide, list) else wide,
        heads=_most(heads),
        kv_heads=_most(kv_heads) or _most(heads),
        head_dim=key_length,
        vocabulary=_vocabulary(model),
        context=model.number("context_length"),
        experts=model.number("expert_count"),
        experts_per_token=model.number("expert_used_count"),
        tied_embeddings="output.weight" not in model.tensors if task == "text-generation" else None,
        sliding_window=model.number("attention.sliding_window"),
        licence=_string(model.values.get("general.license")) or read_licence(path.parent),
        tokenizer=_tokenizer(model.values),
        chat_template=bool(model.values.get("tokenizer.chat_template")),
        quantized=_quantized(dtypes),
        large_tensors=_large(model.tensors),
        kv_bytes_per_token=cache.per_token,
        kv_windowed_bytes_per_token=cache.windowed,
        notes=(*_file_notes(model), *notes, *cache.notes),
    )


def is_later_shard(path: Path) -> bool:
    """Return True for the second and later files of a split model."""
    match = _SHARD.fullmatch(path.name)
    return match is not None and int(match[2]) > 1


def _load(path: Path) -> _Model:
    header = read_header(path)
    values = dict(header.values)
    content = values.get("general.type", "model")
    if content in ("adapter", "imatrix") or "adapter.type" in values:
        raise ModelError(
            f"{path} holds {'an importance matrix' if content == 'imatrix' else 'an adapter'}, not a whole model",
            hint="give the model itself, merged with its adapter if it has one",
        )
    architecture = values.get("general.architecture")
    if content == "mmproj" or architecture == "clip":
        raise ModelError(
            f"{path} holds a projector (the encoder of pictures or sounds), not a whole model",
            hint="give the language model's GGUF file for its text alone, or the checkpoint of both for pictures",
        )
    if not isinstance(architecture, str) or not architecture:
        raise ModelError(
            f"{path}: general.architecture is {architecture!r}, so the architecture is unknown",
            hint="convert the model again from its original",
        )
    tensors, files = dict(header.tensors), [path.name]
    for shard in _shards(path, values):
        files.append(shard.name)
        for name, tensor in read_header(shard).tensors.items():
            if name in tensors:
                raise ModelError(f"{shard} holds the tensor {name!r} again", hint="download the files again")
            tensors[name] = tensor
    return _Model(path, values, header, tensors, tuple(sorted(files)), architecture)


def _shards(path: Path, values: dict[str, Any]) -> Iterator[Path]:
    count = values.get("split.count", 1)
    if count in (0, 1):
        return
    match = _SHARD.fullmatch(path.name)
    if not isinstance(count, int) or not 1 < count < 100_000 or match is None or int(match[3]) != count:
        raise ModelError(
            f"{path} is one of {count} files of a model, but its name does not say which",
            hint="give the first file under its original name: NAME-00001-of-0000N.gguf",
        )
    if int(match[2]) != 1:
        first = path.with_name(f"{match[1]}-00001-of-{match[3]}.gguf")
        raise ModelError(f"{path} is not the first file of its model", hint=f"give the first file: {first}")
    for number in range(2, count + 1):
        shard = path.with_name(f"{match[1]}-{number:05}-of-{match[3]}.gguf")
        if not shard.is_file():
            raise ModelError(
                why_absent(shard, f"{shard} is missing"), hint="download or copy the missing file"
            )
        yield shard


def _task(model: _Model) -> tuple[str, list[str]]:
    if model.architecture in _NOT_MODELS:
        return "unknown", [f"{_NOT_MODELS[model.architecture]}, not a causal language model"]
    causal = model.values.get(f"{model.architecture}.attention.causal")
    if model.architecture in ENCODERS or causal is False:
        return "feature-extraction", []
    return "text-generation", []


def _lengths(model: _Model) -> tuple[int | None, int | None]:
    """Return the sizes of a head's keys and values: as stated, else hidden size / heads."""
    hidden, heads = model.number("embedding_length"), _most(model.numbers("attention.head_count"))
    derived = hidden // heads if hidden and heads else None
    return model.number("attention.key_length") or derived, model.number("attention.value_length") or derived


def _cache(model: _Model) -> kv_cache.Growth:
    """Return the growth of the KV cache that the keys state, or why they do not."""
    if model.number("attention.kv_lora_rank"):
        return kv_cache.Growth(
            None, notes=("multi-head latent attention: the KV cache depends on the runtime",)
        )
    kv_heads = model.numbers("attention.head_count_kv")
    if kv_heads is None:
        kv_heads = model.numbers("attention.head_count")
    layers, (keys, values) = model.layers, _lengths(model)
    if kv_heads is None or layers is None or keys is None or values is None:
        unknown = "the header does not state layers, KV heads and head size: KV-cache bytes unknown"
        return kv_cache.Growth(None, notes=(unknown,))
    interval = model.number("full_attention_interval")
    some = isinstance(kv_heads, list) or interval or model.architecture in _ATTENTION_EVERYWHERE
    heads = kv_heads if isinstance(kv_heads, list) else [kv_heads] * layers
    if (model.number("ssm.state_size") and not some) or len(heads) != layers:
        return kv_cache.Growth(
            None, notes=("only some layers have a KV cache, and the header does not state which",)
        )
    kinds = kv_cache.repeated(interval, layers, "none") if interval else _windows(model, layers)
    shared = model.number("attention.shared_kv_layers") or 0
    within = sum(
        model.number(f"attention.{part}_length_swa") or size
        for part, size in (("key", keys), ("value", values))
    )
    widths = [
        count * (within if kind == "window" else keys + values)
        for count, kind in zip(heads, kinds, strict=True)
    ]
    return kv_cache.growth(kv_cache.sharing(kinds, shared), widths)


def _windows(model: _Model, layers: int) -> list[kv_cache.Kind]:
    """Return which layers llama.cpp keeps the sliding window of only; without a stated pattern it keeps everything."""
    name = f"{model.architecture}.attention.sliding_window_pattern"
    pattern = model.values.get(name) or kv_cache.PATTERNS.get(model.architecture)
    if not pattern or not model.number("attention.sliding_window"):
        return ["all"] * layers
    if isinstance(pattern, list):  # true for the layers with a window
        return ["window" if one else "all" for one in pattern][:layers]
    return kv_cache.repeated(config.positive(pattern, name, model.path), layers, "window")


def _most(value: list[int] | int | None) -> int | None:
    return (max(value, default=0) or None) if isinstance(value, list) else value


def _vocabulary(model: _Model) -> int | None:
    counted = model.header.lengths.get("tokenizer.ggml.tokens")
    if counted:
        return counted
    stated = model.number("vocab_size")
    table = model.tensors.get("token_embd.weight")
    return stated or (table.dims[1] if table is not None and len(table.dims) == 2 else None)


def _tokenizer(values: dict[str, Any]) -> str | None:
    named = values.get("tokenizer.ggml.model")
    return _TOKENIZERS.get(named, named) if isinstance(named, str) else None


def _quantized(dtypes: Counter[str]) -> str | None:
    """Return the type of most quantized weights, or None if no weights are quantized."""
    quantized = {name: count for name, count in dtypes.items() if name not in PLAIN and count}
    return max(quantized, key=lambda name: quantized[name]) if quantized else None


def _large(tensors: dict[str, Tensor]) -> tuple[LargeTensor, ...]:
    """Return the matrices of at least LARGE of the bytes of all tensors, the largest first."""
    total = sum(tensor.bytes for tensor in tensors.values())
    found = [
        LargeTensor(name, tensor.type.name, tensor.elements, tensor.dims[0], tensor.bytes)
        for name, tensor in tensors.items()
        if len(tensor.dims) > 1 and tensor.bytes >= LARGE * total
    ]
    return tuple(sorted(found, key=lambda tensor: -tensor.bytes))


def _file_notes(model: _Model) -> Iterator[str]:
    yield f"GGUF version {model.header.version}" + (
        f", {len(model.files)} files" if len(model.files) > 1 else ""
    )
    stated = model.values.get("general.file_type")
    named = file_type(stated)
    if stated is not None:
        yield f"quantized as {named}" if named and named not in FLOATS else f"file type {named or stated}"
    shared = model.number("expert_shared_count")
    if shared:
        yield f"{shared} shared experts in addition, used for every token"
    beside = sorted(one.name for one in model.path.parent.glob("mmproj*.gguf"))
    if beside or model.architecture in _WITH_PICTURES:
        where = f"in {beside[0]}" if beside else "in another file (mmproj)"
        yield f"the language model alone: the projector that pictures need is {where}, and is not optimized"


def _string(value: Any) -> str | None:
    return value[:80] if isinstance(value, str) and value else None
