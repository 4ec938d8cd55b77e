"""Sounds become the array that a graph takes; the spectrogram is that of transformers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.pytorch import backend
from edgehone.core.errors import InputError
from edgehone.execution.environments import environment
from edgehone.inputs.sound import of
from edgehone.model.info import Tensor
from edgehone.worker.image_arrays import image_input
from edgehone.worker.sound_arrays import mel_spectrogram, resampled, sound_array
from edgehone.worker.wave_file import read_wave
from tests.sounds import RATE, tone, write_wave

WAVE = Tensor("x", "float32", ("batch", "time"))


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 16000), (8000, 16000), (48000, 16000), (16000, 22050)])
def test_a_tone_keeps_its_frequency_at_another_rate(rate: int, wanted: int) -> None:
    found = resampled(tone(1000, rate=rate), rate, wanted)
    assert len(found) == wanted
    inner = slice(500, -500)
    np.testing.assert_allclose(found[inner], tone(1000, rate=wanted)[inner], atol=2e-3)


def test_what_the_new_rate_cannot_hold_is_removed() -> None:
    assert np.abs(resampled(tone(15000, rate=44100), 44100, 16000)[500:-500]).max() < 1e-3


ORACLE = """
import json, sys
import numpy as np
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function
sound = np.load(sys.argv[2])
for at, o in enumerate(json.loads(sys.argv[1])):
    window, hop = round(16 * o["window_ms"]), round(16 * o["hop_ms"])
    size = 1 << (window - 1).bit_length()
    norm = "slaney" if o["scale"] == "slaney" else None
    filters = mel_filter_bank(size // 2 + 1, o["bins"], o["low"], o["high"], 16000, norm=norm, mel_scale=o["scale"])
    length = size if o["center"] else window
    found = spectrogram(
        sound, window_function(window, "hann", frame_length=length), length, hop, fft_length=size, power=o["power"],
        center=o["center"], mel_filters=filters, mel_floor=o["floor"],
        log_mel={"none": None, "ln": "log", "log10": "log10", "db": "dB"}[o["log"]], min_value=o["floor"])
    np.save(f"{sys.argv[3]}/{at}.npy", found)
"""
STATED: list[dict[str, Any]] = [
    {"bins": 40},
    {"bins": 64, "scale": "slaney", "power": 1, "log": "log10", "low": 50.0, "high": 7000.0},
    {"bins": 80, "center": True, "window_ms": 32.0, "log": "none"},
    {"bins": 80, "center": True, "log": "ln", "floor": 1e-5},
]


@pytest.mark.real
def test_the_spectrogram_is_that_of_transformers(tmp_path: Path) -> None:
    stated = [of({"audio": {"features": "mel", **options}}) for options in STATED]
    sound = tone(440) + 0.1 * np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    np.save(tmp_path / "in.npy", sound)
    python = environment.ensure("pytorch", backend.NEEDS, lambda what: None).python
    words = [python, "-c", ORACLE, json.dumps(stated), tmp_path / "in.npy", tmp_path]
    subprocess.run([str(one) for one in words], check=True, capture_output=True)
    for at, options in enumerate(stated):
        expected, found = np.load(tmp_path / f"{at}.npy"), mel_spectrogram(sound, options)
        assert found.shape == expected.shape, options
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3, err_msg=str(options))


EXTRACTORS = """
import sys
import numpy as np
from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor
sound = np.load(sys.argv[1])
for name, extractor in (
    ("whisper", WhisperFeatureExtractor(feature_size=80, chunk_length=2)),
    ("wav2vec", Wav2Vec2FeatureExtractor(do_normalize=True)),
):
    extractor.save_pretrained(f"{sys.argv[2]}/{name}")
    (features,) = extractor(sound, sampling_rate=16000, return_tensors="np").values()
    np.save(f"{sys.argv[2]}/{name}/out.npy", features[0])
"""


@pytest.mark.real
def test_features_are_those_of_transformers_extractors(tmp_path: Path) -> None:
    sound = tone(440) + 0.1 * np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    write_wave(tmp_path / "a.wav", sound)
    heard, _ = read_wave(tmp_path / "a.wav")
    np.save(tmp_path / "in.npy", heard)
    python = environment.ensure("pytorch", backend.NEEDS, lambda what: None).python
    words = [str(python), "-c", EXTRACTORS, str(tmp_path / "in.npy"), str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True)
    inputs = [
        Tensor("input_features", "float32", ("batch", 80, 200)),
        Tensor("decoder_input_ids", "int64", ("batch", "tokens")),
    ]
    name, found = sound_array([tmp_path / "a.wav"], inputs, of({}, tmp_path / "whisper"))
    assert name == "input_features"
    np.testing.assert_allclose(found[0], np.load(tmp_path / "whisper" / "out.npy"), atol=1e-4)
    _, found = sound_array([tmp_path / "a.wav"], [WAVE], of({}, tmp_path / "wav2vec"))
    np.testing.assert_allclose(found[0], np.load(tmp_path / "wav2vec" / "out.npy"), atol=1e-5)


def test_a_sound_is_normalized_before_silence_is_added(tmp_path: Path) -> None:
    path = write_wave(tmp_path / "a.wav", 0.1 + tone(440, 0.5))
    _, found = sound_array([path], [WAVE], of({"audio": {"normalize": True, "seconds": 1.0}}))
    heard, silence = found[0][: RATE // 2], found[0][RATE // 2 :]
    assert heard.mean() == pytest.approx(0, abs=1e-4) and heard.std() == pytest.approx(1, abs=1e-3)
    assert len(silence) == RATE // 2 and not silence.any()


@pytest.mark.parametrize(("at", "value"), [(24, 0), (34, 200), (40, 255), (16, 200)])
def test_a_damaged_header_is_refused_by_name_or_read(tmp_path: Path, at: int, value: int) -> None:
    path = write_wave(tmp_path / "a.wav", tone(440, 0.01))
    content = bytearray(path.read_bytes())
    content[at : at + 4] = bytes([value] * 4) if at != 34 else bytes([value, 0]) + content[36:38]
    path.write_bytes(content)
    try:
        sound_array([path], [WAVE], of({"audio": {"seconds": 0.01}}))
    except InputError as error:
        assert "a.wav" in error.message


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        (("batch", 40, "frames"), (2, 40, 98)),
        (("batch", "frames", 40), (2, 98, 40)),
        (("batch", 1, 40, 98), (2, 1, 40, 98)),
        (("batch", 98, 40, 1), (2, 98, 40, 1)),
    ],
)
def test_a_spectrogram_is_arranged_as_the_input_takes_it(
    tmp_path: Path, shape: tuple[int | str, ...], found: tuple[int, ...]
) -> None:
    files = [write_wave(tmp_path / f"{at}.wav", tone(440, 0.8 + 0.4 * at)) for at in range(2)]
    options = of({"audio": {"features": "mel", "bins": 40, "seconds": 1.0}})
    name, array = sound_array(files, [Tensor("x", "float32", shape)], options)
    assert name == "x" and array.shape == found and array.dtype == np.float32


def test_lengths_that_differ_or_do_not_fit_are_refused(tmp_path: Path) -> None:
    files = [write_wave(tmp_path / f"{at}.wav", tone(440, 0.5 + 0.5 * at)) for at in range(2)]
    with pytest.raises(InputError, match="the files give from 8000 to 16000 values along time") as caught:
        sound_array(files, [WAVE], of({}))
    assert "seconds" in str(caught.value.hint)
    fixed = Tensor("x", "float32", ("batch", 1, 512))
    with pytest.raises(InputError, match=r"the sounds have the shape \[16000\], and the input x takes"):
        sound_array(files[1:], [fixed], of({}))
    with pytest.raises(InputError, match="a folder of sounds needs a single input of floats"):
        sound_array(files, [WAVE, WAVE], of({}))
    words = Tensor("input_ids", "int64", ("batch", "sequence"))
    for refuse in (lambda: sound_array(files, [words], of({})), lambda: image_input([words], {})):
        with pytest.raises(InputError, match=r"a folder of (sounds|images) needs") as caught:
            refuse()
        assert caught.value.hint == "give texts: FILE.txt with one a line, or FILE.jsonl"
