"""Encoder-decoders in a Hugging Face folder (Whisper, T5): task, inputs, outputs, and how a text is decoded.

Such a model is a graph whose request is a whole text: the encoder runs once, and the decoder once for each token of
`decoder_input_ids`. Its logits are compared with those of the original for the same tokens, and the texts that both
generate by themselves are compared by their words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError
from edgehone.model.config import positive, read_object
from edgehone.model.info import Tensor

SPEECH, TEXT = "automatic-speech-recognition", "text2text-generation"
TASKS = (SPEECH, TEXT)
# Model type and the end of its architecture's name -> task.
_TYPES: Mapping[str, str] = {"whisper": SPEECH, "t5": TEXT, "mt5": TEXT}
# What the decoder takes: the tokens so far, and which of them belong to the text.
IDS, MASK = "decoder_input_ids", "decoder_attention_mask"
LOGITS = "logits"
# A text ends here at the latest if the model does not say otherwise.
_LONGEST = 448
# Encoder positions of Whisper for two frames of its spectrogram.
_FRAMES = 2


@dataclass(frozen=True)
class EncoderDecoder:
    """The task of an encoder-decoder, its inputs and its output."""

    task: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decoding:
    """How a text is generated, by generation_config.json; all numbers are ids but `longest`.

    `start` begins every text; the likeliest of `languages`, if there are any, follows its first id, and `task` comes
    after it. `eos` end a text of at most `longest` ids. `suppressed` are never generated, `first_suppressed` not as the
    first id.
    """

    start: tuple[int, ...]
    eos: tuple[int, ...]
    longest: int
    languages: tuple[int, ...] = ()
    task: tuple[int, ...] = ()
    suppressed: tuple[int, ...] = ()
    first_suppressed: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {name: list(one) if isinstance(one, tuple) else one for name, one in vars(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Decoding:
        """Return the decoding of a dict made by `to_json`."""
        found: dict[str, Any] = {
            name: tuple(one) if isinstance(one, list) else one for name, one in data.items()
        }
        return cls(**found)


def task_of(config: Mapping[str, Any]) -> str | None:
    """Return the task of the encoder-decoder that config.json describes, or None for other models."""
    task = _TYPES.get(str(config.get("model_type")))
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    return task if architecture.endswith("ForConditionalGeneration") else None


def read(config: Mapping[str, Any], where: Path) -> EncoderDecoder | None:
    """Return the encoder-decoder that config.json describes, or None for other models and families not known here.

    Raises ModelError for sizes that cannot be.
    """
    if (task := task_of(config)) is None:
        return None
    free = ("batch", "sequence")
    if task == SPEECH:
        bins = positive(config.get("num_mel_bins", 80), "num_mel_bins", where)
        positions = positive(config.get("max_source_positions", 1500), "max_source_positions", where)
        source = [Tensor("input_features", "float32", ("batch", bins, _FRAMES * positions))]
    else:
        source = [Tensor("input_ids", "int64", free), Tensor("attention_mask", "int64", free)]
    vocabulary = positive(config.get("vocab_size"), "vocab_size", where)
    tokens = ("batch", "tokens")
    return EncoderDecoder(
        task,
        (*source, Tensor(IDS, "int64", tokens), Tensor(MASK, "int64", tokens)),
        (Tensor(LOGITS, "float32", (*tokens, vocabulary)),),
        ("an encoder-decoder: a request is a whole text, generated token by token",),
    )


def of_encoder(inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the inputs that are made of a sound or a text: all but the decoder's."""
    return [one for one in inputs if one.name not in (IDS, MASK)]


def decoding(folder: Path) -> Decoding:
    """Return how texts are generated, by generation_config.json and config.json.

    Raises ModelError if neither says with which id a text begins or ends.
    """
    config = read_object(folder / "config.json")
    path = folder / "generation_config.json"
    generation = read_object(path) if path.is_file() else {}
    stated = {**config, **{name: value for name, value in generation.items() if value is not None}}
    start, eos = _ids(stated.get("decoder_start_token_id")), _ids(stated.get("eos_token_id"))
    if not start or not eos:
        lacking = "eos_token_id" if start else "decoder_start_token_id"
        raise ModelError(
            f"{folder}: neither generation_config.json nor config.json states {lacking}",
            hint="copy generation_config.json from the original model",
        )
    languages, task = _prompt(generation) if generation.get("is_multilingual") else ((), ())
    return Decoding(
        start,
        eos,
        _longest(stated),
        languages,
        (*task, *_ids(generation.get("no_timestamps_token_id"))),
        _ids(generation.get("suppress_tokens")),
        _ids(generation.get("begin_suppress_tokens")),
    )


def _prompt(generation: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids of the languages, of which the model chooses, and that of the task of transcribing."""
    languages, tasks = (generation.get(name) or {} for name in ("lang_to_id", "task_to_id"))
    if not isinstance(languages, dict) or not isinstance(tasks, dict):
        raise ModelError("lang_to_id and task_to_id of generation_config.json are no tables")
    return _ids(list(languages.values())), _ids(tasks.get("transcribe"))


def _longest(stated: Mapping[str, Any]) -> int:
    limits = [stated.get(name) for name in ("max_length", "max_target_positions")]
    known = [one for one in limits if isinstance(one, int) and not isinstance(one, bool) and one > 1]
    return min([*known, _LONGEST])


def _ids(value: Any) -> tuple[int, ...]:
    """Return an id, or a list of ids; () for anything else."""
    values = value if isinstance(value, list) else [value]
    return tuple(one for one in values if isinstance(one, int) and not isinstance(one, bool) and one >= 0)
