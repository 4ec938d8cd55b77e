"""How sound is prepared: the table [audio] of edgehone.toml."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.inputs.sound import DEFAULTS, of


def test_defaults_fill_what_is_not_stated() -> None:
    assert of({}) == {**DEFAULTS, "high": 8000.0}
    found = of({"audio": {"rate": 22050, "features": "mel", "seconds": 1, "center": True}})
    assert found["high"] == 11025 and found["seconds"] == 1 and found["center"] is True


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rate": 16000.5}, "rate = 16000.5"),
        ({"rate": True}, "rate = True"),
        ({"bins": 0}, "bins = 0"),
        ({"features": "mfcc"}, "features = 'mfcc'"),
        ({"power": 3}, "power = 3"),
        ({"power": True}, "power = True"),
        ({"center": 1}, "center = 1"),
        ({"normalize": 1}, "normalize = 1"),
        ({"seconds": "1"}, "seconds = '1'"),
        ({"window": 25}, "window in edgehone.toml is not known"),
        ({"low": 9000}, "low = 9000 and high = 8000"),
        ({"high": 9000}, "low = 0 and high = 9000"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"[audio] {message}")) as caught:
        of({"audio": given})
    assert caught.value.hint


def test_a_whisper_says_how_sounds_are_prepared(tmp_path: Path) -> None:
    stated = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128, "chunk_length": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    found = of({}, tmp_path)
    assert (found["bins"], found["seconds"], found["rate"], found["fft"]) == (128, 3, 16000, 400)
    assert (found["hop_ms"], found["window_ms"], found["range"], found["last_frame"]) == (
        10.0,
        25.0,
        8.0,
        False,
    )
    assert of({"audio": {"seconds": 5}}, tmp_path)["seconds"] == 5
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "ViT"}')
    assert of({}, tmp_path) == of({})


@pytest.mark.parametrize("value", [0, -16000, "16000", True, 1 << 30])
def test_a_whisper_with_impossible_numbers_is_refused(tmp_path: Path, value: Any) -> None:
    stated = {"feature_extractor_type": "WhisperFeatureExtractor", "sampling_rate": value}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    with pytest.raises(InputError, match=f"sampling_rate is {value!r}"):
        of({}, tmp_path)


def test_wav2vec_says_how_sounds_are_prepared(tmp_path: Path) -> None:
    stated = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "sampling_rate": 8000,
        "do_normalize": True,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    found = of({}, tmp_path)
    assert (found["rate"], found["features"], found["normalize"]) == (8000, "samples", True)
    assert of({"audio": {"normalize": False}}, tmp_path)["normalize"] is False


def test_another_extractor_is_refused_unless_the_features_are_stated(tmp_path: Path) -> None:
    stated = {"feature_extractor_type": "ASTFeatureExtractor", "sampling_rate": 16000, "num_mel_bins": 128}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    with pytest.raises(InputError, match="feature_extractor_type is 'ASTFeatureExtractor'") as caught:
        of({}, tmp_path)
    assert "[audio]" in str(caught.value.hint)
    assert of({"audio": {"features": "mel", "bins": 128}}, tmp_path)["bins"] == 128
