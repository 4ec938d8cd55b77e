"""Encoder-decoders in a Hugging Face folder: their task, inputs and output, and how they generate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import ModelError
from edgehone.model.encoder_decoder import SPEECH, TEXT, Decoding, decoding, of_encoder, read, task_of

WHISPER: dict[str, Any] = {
    "model_type": "whisper",
    "architectures": ["WhisperForConditionalGeneration"],
    "num_mel_bins": 128,
    "max_source_positions": 150,
    "max_target_positions": 64,
    "vocab_size": 500,
    "decoder_start_token_id": 1,
    "eos_token_id": 0,
}
T5 = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "vocab_size": 384}


def test_whisper_takes_a_spectrogram_and_the_tokens_so_far() -> None:
    found = read(WHISPER, Path("config.json"))
    assert found is not None
    assert found.task == SPEECH
    assert [(one.name, one.shape) for one in of_encoder(found.inputs)] == [
        ("input_features", ("batch", 128, 300))
    ]
    assert [one.name for one in found.inputs[1:]] == ["decoder_input_ids", "decoder_attention_mask"]
    assert found.outputs[0].shape == ("batch", "tokens", 500)


def test_t5_takes_a_text_and_the_tokens_so_far() -> None:
    found = read(T5, Path("config.json"))
    assert found is not None
    assert found.task == TEXT
    assert [one.name for one in of_encoder(found.inputs)] == ["input_ids", "attention_mask"]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {**WHISPER, "model_type": "llama"},
        {**WHISPER, "architectures": ["WhisperForAudioClassification"]},
        {**T5, "architectures": None},
        {**T5, "architectures": []},
    ],
)
def test_other_models_are_left_to_others(config: dict[str, Any]) -> None:
    assert task_of(config) is None
    assert read(config, Path("config.json")) is None


@pytest.mark.parametrize("field", ["num_mel_bins", "max_source_positions", "vocab_size"])
@pytest.mark.parametrize("value", [0, -1, True, "80", 1.5])
def test_a_size_that_cannot_be_is_named(field: str, value: Any) -> None:
    with pytest.raises(ModelError, match=f"{field} is {value!r}"):
        read({**WHISPER, field: value}, Path("config.json"))


def folder(tmp_path: Path, config: dict[str, Any], generation: dict[str, Any] | None) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    return tmp_path


def test_how_whisper_generates(tmp_path: Path) -> None:
    generation = {
        "is_multilingual": True,
        "lang_to_id": {"<|en|>": 2, "<|de|>": 5},
        "task_to_id": {"translate": 6, "transcribe": 3},
        "no_timestamps_token_id": 4,
        "suppress_tokens": [1, 3],
        "begin_suppress_tokens": [0],
        "max_length": 448,
    }
    found = decoding(folder(tmp_path, WHISPER, generation))
    assert found == Decoding((1,), (0,), 64, (2, 5), (3, 4), (1, 3), (0,))
    assert Decoding.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_config_json_says_what_generation_config_json_does_not(tmp_path: Path) -> None:
    several = {**T5, "decoder_start_token_id": 7, "eos_token_id": [1, 2]}
    assert decoding(folder(tmp_path, several, None)) == Decoding((7,), (1, 2), 448)
    nulls = {"decoder_start_token_id": None, "max_length": 20}
    assert decoding(folder(tmp_path, several, nulls)) == Decoding((7,), (1, 2), 20)


@pytest.mark.parametrize("missing", ["decoder_start_token_id", "eos_token_id"])
def test_without_a_first_or_a_last_id_nothing_can_be_generated(tmp_path: Path, missing: str) -> None:
    config = {name: value for name, value in WHISPER.items() if name != missing}
    with pytest.raises(ModelError, match=missing) as caught:
        decoding(folder(tmp_path, config, {}))
    assert caught.value.hint


def test_damaged_tables_of_languages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lang_to_id"):
        decoding(folder(tmp_path, WHISPER, {"is_multilingual": True, "lang_to_id": [2]}))
