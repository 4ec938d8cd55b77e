"""Encoders in a Hugging Face folder (BERT and similar models): task, inputs, outputs and pooling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgehone.core.errors import ModelError
from edgehone.model.config import read_bytes, read_object
from edgehone.model.info import Tensor

# Model type -> default of type_vocab_size (transformers 5, configuration_*.py); 0: the model has no token types.
TYPES: Mapping[str, int] = {
    "bert": 2, "roberta": 2, "distilbert": 0, "albert": 2, "electra": 2, "mpnet": 0, "xlm-roberta": 2,
    "camembert": 2, "deberta": 0, "deberta-v2": 0, "nomic_bert": 2, "modernbert": 0,
}  # fmt: skip
# Models whose tokenizers return token_type_ids although they are not WordPiece.
_TOKEN_TYPES = frozenset({"deberta", "deberta-v2"})
_LABELS = 2  # default of transformers
_MODULES = "modules.json"


@dataclass(frozen=True)
class Encoder:
    """The task of an encoder, the outputs of its head, and notes."""

    task: str
    outputs: tuple[Tensor, ...]
    notes: tuple[str, ...] = ()


def read(config: Mapping[str, Any], architecture: str, hidden: int | None, where: Path) -> Encoder | None:
    """Return the encoder that config.json describes, or None for other models and unknown heads."""
    if config.get("model_type") not in TYPES or config.get("is_decoder") is True:
        return None
    if architecture.endswith("ForSequenceClassification"):
        labels = _labels(config, where)
        named = ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")
        notes = [f"{len(labels)} label{'s' if len(labels) > 1 else ''}: {named}"]
        if config.get("problem_type") in ("multi_label_classification", "regression"):
            notes.append(str(config["problem_type"]).replace("_", " "))
        logits = Tensor("logits", "float32", ("batch", len(labels)))
        return Encoder("text-classification", (logits,), tuple(notes))
    states = Tensor("last_hidden_state", "float32", ("batch", "sequence", hidden))
    if architecture.endswith(("ForMaskedLM", "ForPreTraining")):
        note = f"{architecture}: its hidden states are used, the head for masked words is left out"
        return Encoder("feature-extraction", (states,), (note,))
    if architecture.endswith("Model"):
        return Encoder("feature-extraction", (states,))
    return None


def inputs(
    config: Mapping[str, Any], tokenizer_config: Mapping[str, Any], tokenizer: str | None
) -> tuple[Tensor, ...]:
    """Return the tensors that the tokenizer returns and the encoder takes: int64 [batch, sequence] each."""
    names = ["input_ids", "attention_mask"]
    model_type = str(config.get("model_type"))
    stated = tokenizer_config.get("model_input_names")
    kinds = config.get("type_vocab_size", TYPES.get(model_type, 0))
    has_token_types = (
        "token_type_ids" in stated
        if isinstance(stated, list)
        else tokenizer == "wordpiece" or model_type in _TOKEN_TYPES
    )
    if has_token_types and isinstance(kinds, int) and kinds > 1:
        names.append("token_type_ids")
    return tuple(Tensor(name, "int64", ("batch", "sequence")) for name in names)


def sentence_modules(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the files of a sentence-transformers folder besides the encoder's, and notes. Empty for other folders.

    Raises ModelError if modules.json is damaged or has a path outside of the folder.
    """
    if not (folder / _MODULES).is_file():
        return (), ()
    where = folder / _MODULES
    try:
        modules = json.loads(read_bytes(where))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where} is not valid JSON: {error}", hint="download or copy it again") from error
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ModelError(f"{where} is not a list of modules", hint="download or copy it again")
    files = [
        name
        for name in (_MODULES, "config_sentence_transformers.json", "sentence_bert_config.json")
        if (folder / name).is_file()
    ]
    steps: list[str] = []
    for module in modules:
        path, kind = module.get("path", ""), str(module.get("type", "unknown")).rpartition(".")[2]
        if not isinstance(path, str) or not _inside(path):
            raise ModelError(f"{where} puts {kind} in {path!r}, which is not in this folder")
        if path:
            files += [
                f"{path}/{entry.name}" for entry in sorted((folder / path).glob("*")) if entry.is_file()
            ]
        steps.append(f"{_pooling(folder / path)} pooling" if kind == "Pooling" else kind)
    return tuple(files), (
        f"sentence-transformers: {' → '.join(steps)}; the outputs are those of the first module",
    )


def _inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and "\0" not in path and "\\" not in path


def _pooling(folder: Path) -> str:
    if not (folder / "config.json").is_file():
        return "unknown"
    config = read_object(folder / "config.json")
    modes = [
        name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for name, used in sorted(config.items())
        if name.startswith("pooling_mode_") and used is True
    ]
    return " and ".join(modes) or "unknown"


def _labels(config: Mapping[str, Any], where: Path) -> list[str]:
    names = config.get("id2label")
    if isinstance(names, dict) and names:
        return [str(name) for name in names.values()]
    count = config.get("num_labels", _LABELS)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 1_000_000:
        raise ModelError(f"{where}: num_labels is {repr(count)[:80]}", hint="correct config.json")
    return [f"LABEL_{number}" for number in range(count)]
