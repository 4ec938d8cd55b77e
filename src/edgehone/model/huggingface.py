"""The facts about a model in a Hugging Face folder: config.json, safetensors headers, tokenizer files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgehone.core.absence import why_absent
from edgehone.core.errors import ModelError
from edgehone.formats.safetensors import Tensor, read_header
from edgehone.model import encoder, encoder_decoder, experts, kv_cache, multimodal, shapes, tokenizer
from edgehone.model.config import read_object, size_field
from edgehone.model.info import ModelInfo
from edgehone.model.licence import read_licence
from edgehone.model.stores import hub_cache

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
OTHERS = ("config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth")
CONVERT = (
    'python -c "from transformers import AutoModelForCausalLM as M; '
    "M.from_pretrained('{0}').save_pretrained('{0}', safe_serialization=True)\""
)
NULL = "null"  # model type of the null backend's models, whose tokens are bytes


@dataclass(frozen=True)
class Weights:
    """The combined headers of all weight files."""

    files: tuple[str, ...]  # relative to the folder, including the index
    headers: Mapping[str, Mapping[str, Tensor]]  # by file
    dtypes: Mapping[str, int]  # of the parameters: without buffers such as masks
    bytes: int
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The names of all tensors."""
        return frozenset(name for tensors in self.headers.values() for name in tensors)


def read(folder: Path) -> ModelInfo:
    """Read the facts about the model in `folder`. Raises ModelError if anything is missing or damaged."""
    where = folder / "config.json"
    config = read_object(where)
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        hint = "complete config.json from the original model"
        raise ModelError(f"{where}: model_type is {model_type!r}, so the architecture is unknown", hint=hint)
    weights = read_weights(folder)
    text = experts.expert_fields(_text_config(config))
    tokenizer_config = _read_other_files(folder)
    kind = "bytes" if model_type == NULL else tokenizer.read_kind(folder)
    sizes = _sizes(text, where)
    architecture = _architecture(config)
    quantized, quantized_notes = _quantized(config)
    if quantized is None and kind != "bytes":
        shapes.check(weights.headers, folder, text, sizes)
    encoder_facts = encoder.read(config, architecture, sizes["hidden_size"], where)
    both = encoder_decoder.read(config, where)
    use = _use(folder, config, text, sizes, encoder_facts or both)
    remote = bool(config.get("auto_map") or tokenizer_config.get("auto_map"))
    mixture = experts.notes(text, sizes["experts"], sizes["experts_per_token"], sizes["layers"])
    return ModelInfo(
        path=folder,
        format="huggingface",
        architecture=architecture,
        model_type=model_type,
        task=use.task,
        parameters=sum(weights.dtypes.values()),
        bytes=weights.bytes,
        dtypes=weights.dtypes,
        files=tuple(sorted({*_files(folder, weights, remote), *use.modules})),
        **sizes,
        tied_embeddings=_tied(config, text, weights.names),
        sliding_window=kv_cache.window_of(text),
        licence=read_licence(folder),
        tokenizer=kind,
        chat_template=tokenizer.has_chat_template(folder, tokenizer_config),
        quantized=quantized,
        remote_code=remote,
        kv_bytes_per_token=use.cache.per_token,
        kv_windowed_bytes_per_token=use.cache.windowed,
        notes=(
            *use.notes,
            *mixture,
            *weights.notes,
            *quantized_notes,
            *use.cache.notes,
            *tokenizer.beyond(folder, tokenizer_config, sizes["vocabulary"]),
        ),
        inputs=encoder.inputs(config, tokenizer_config, kind)
        if encoder_facts
        else both.inputs
        if both
        else (),
        outputs=encoder_facts.outputs if encoder_facts else both.outputs if both else (),
    )


@dataclass(frozen=True)
class _Use:
    """What a model is for, the growth of its KV cache, and the files of a sentence encoder's modules."""

    task: str
    notes: Sequence[str]
    cache: kv_cache.Growth
    modules: tuple[str, ...] = ()


def _use(
    folder: Path,
    config: Mapping[str, Any],
    text: Mapping[str, Any],
    sizes: Mapping[str, Any],
    graph: encoder.Encoder | encoder_decoder.EncoderDecoder | None,
) -> _Use:
    if isinstance(graph, encoder.Encoder):
        modules, more = encoder.sentence_modules(folder)
        return _Use(graph.task, [*graph.notes, *more], kv_cache.Growth(None), modules)
    if graph is not None:
        return _Use(graph.task, graph.notes, kv_cache.Growth(None))
    task, notes = _task(folder, config)
    where = folder / "config.json"
    return _Use(task, notes, kv_cache.of_config(text, sizes["kv_heads"], sizes["head_dim"], where))


def _read_other_files(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json, {} if there is none. Raises ModelError if any configuration file is damaged.

    Toolchains read these files too, and name no file in their errors.
    """
    for name in (*OTHERS, *tokenizer.CONFIGURATIONS):
        if (folder / name).is_file():
            read_object(folder / name)
    path = folder / "tokenizer_config.json"
    return read_object(path) if path.exists() else {}


def read_weights(folder: Path) -> Weights:
    """Read the header of the single weight file, or of all shards in the index, and check them against the index."""
    if (folder / SINGLE).exists():
        tensors = read_header(folder / SINGLE)
        return _weights(folder, (SINGLE,), {SINGLE: tensors}, ())
    if (folder / INDEX).exists():
        return _sharded(folder)
    raise _no_weights(folder)


def _sharded(folder: Path) -> Weights:
    index = folder / INDEX
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index} has no weight_map")
    shards: dict[str, set[str]] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _inside(shard):
            raise ModelError(f"{index} puts tensor {name!r} in {shard!r}, which is not a file in this folder")
        shards.setdefault(shard, set()).add(name)
    headers: dict[str, dict[str, Tensor]] = {}
    notes: list[str] = []
    for shard, names in sorted(shards.items()):
        if not (folder / shard).exists():
            problem = why_absent(folder / shard, f"{folder / shard} is missing")
            raise ModelError(
                f"{problem}: the index puts {len(names)} tensors there",
                hint=hub_cache.repair_hint(folder, otherwise="download or copy the missing shard"),
            )
        headers[shard] = read_header(folder / shard)
        absent = sorted(names - headers[shard].keys())
        if absent:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            hint = "the index and the shards are from different models: download them again"
            raise ModelError(
                f"{folder / shard} lacks the tensor {absent[0]!r}{more} that the index puts there", hint=hint
            )
        extra = len(headers[shard].keys() - names)
        if extra:
            notes.append(f"{shard} stores {extra} tensors that are not in the index and are not counted")
            headers[shard] = {name: headers[shard][name] for name in names}
    return _weights(folder, (INDEX, *shards), headers, notes)


def _weights(
    folder: Path, files: Iterable[str], headers: Mapping[str, Mapping[str, Tensor]], notes: Iterable[str]
) -> Weights:
    dtypes: Counter[str] = Counter()
    buffers = 0
    for tensors in headers.values():
        for name, tensor in tensors.items():
            if shapes.is_buffer(name, tensor.shape):
                buffers += 1
            else:
                dtypes[tensor.dtype] += tensor.elements
    if not dtypes.total():
        raise ModelError(f"the weight files in {folder} hold no parameters")
    total = sum((folder / shard).stat().st_size for shard in headers)
    more = [f"{buffers} stored tensors are buffers (masks, positions), not parameters"] if buffers else []
    return Weights(tuple(files), headers, dict(sorted(dtypes.items())), total, (*notes, *more))


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        bool(name)
        and not path.is_absolute()
        and ".." not in path.parts
        and "\0" not in name
        and "\\" not in name
    )


def _no_weights(folder: Path) -> ModelError:
    names = {entry.name for entry in folder.iterdir()}
    searched = f"looked for {SINGLE} and {INDEX}"
    if names & set(PICKLES) or any(name.startswith("pytorch_model-") for name in names):
        return ModelError(
            f"{folder} holds only pickled weights (pytorch_model.bin); loading a pickle runs the code in it",
            hint=f"if you trust the source, convert them once: {CONVERT.format(folder)}",
        )
    if "adapter_model.safetensors" in names:
        return ModelError(
            f"{folder} holds an adapter, not a whole model",
            hint=f"give its base model, and the adapter beside it: edgehone optimize BASE --adapter {folder}",
        )
    others = sorted(name for name in names if name.endswith((".safetensors", ".gguf", ".onnx", ".bin")))
    found = f"; found {', '.join(others[:3])}" if others else ""
    return ModelError(
        f"no weights in {folder}: {searched}{found}",
        hint=hub_cache.repair_hint(folder, otherwise="download the model again, with weights and index"),
    )


def _files(folder: Path, weights: Weights, remote: bool) -> tuple[str, ...]:
    names = set(weights.files)
    names.update(name for name in (*OTHERS, *tokenizer.FILES) if (folder / name).is_file())
    if remote:
        names.update(entry.name for entry in folder.glob("*.py"))
    return tuple(sorted(names))


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of the language model, which is nested in multimodal configurations."""
    for name in multimodal.PARTS:
        nested = config.get(name)
        if isinstance(nested, dict):
            return {**config, **nested}
    return config


def _architecture(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    if isinstance(named, list) and named and isinstance(named[0], str):
        return named[0]
    return "unknown"


def _task(folder: Path, config: Mapping[str, Any]) -> tuple[str, list[str]]:
    architecture = _architecture(config)
    vision_task = multimodal.task(folder, config, architecture)
    if vision_task is not None:
        return vision_task
    if config.get("is_encoder_decoder") is True:
        return "unknown", ["an encoder-decoder, not a causal language model"]
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return "text-generation", []
    return "unknown", [f"the architecture {architecture} does not end in ForCausalLM"]


def _sizes(text: Mapping[str, Any], where: Path) -> dict[str, Any]:
    facts = {fact: size_field(text, fact, where) for fact in ("layers", "hidden_size", "heads", "vocabulary")}
    for fact in ("intermediate_size", "context", "experts", "experts_per_token"):
        facts[fact] = size_field(text, fact, where)
    return {**facts, "kv_heads": _kv_heads(text, where), "head_dim": _head_dim(text, where)}


def _kv_heads(text: Mapping[str, Any], where: Path) -> int | None:
    if text.get("multi_query") is True and text.get("new_decoder_architecture") is not True:
        return 1
    stated = size_field(text, "kv_heads", where)
    if stated is not None or any(
        isinstance(text.get(name), list) for name in ("num_kv_heads", "num_key_value_heads")
    ):
        return stated
    return size_field(text, "heads", where)  # plain multi-head attention


def _head_dim(text: Mapping[str, Any], where: Path) -> int | None:
    stated = size_field(text, "head_dim", where)
    hidden, heads = size_field(text, "hidden_size", where), size_field(text, "heads", where)
    if stated is not None or hidden is None or heads is None or hidden % heads:
        return stated
    return hidden // heads


def _tied(config: Mapping[str, Any], text: Mapping[str, Any], names: frozenset[str]) -> bool | None:
    for source in (config, text):
        stated = source.get("tie_word_embeddings")
        if isinstance(stated, bool):
            return stated
    if (
        any(name.endswith(("lm_head.weight", "embed_out.weight")) for name in names)
        or "output.weight" in names
    ):
        return False
    return None


def _quantized(config: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    for name in ("quantization_config", "compression_config"):
        stated = config.get(name)
        if isinstance(stated, dict) and stated:
            method = str(stated.get("quant_method") or "unknown")
            return method, [f"already quantized ({method}): packed parameters are counted as stored"]
    return None, []
