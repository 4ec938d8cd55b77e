"""How sound becomes the array that a graph takes: the table [audio] of edgehone.toml.

    [audio]
    rate = 16000          # samples a second; files of another rate are resampled
    seconds = 1.0         # length of a sample: longer files are cut, shorter ones end in silence
    features = "mel"      # or "samples" (default): the waveform between -1 and 1
    bins = 40             # mel bands
    window_ms = 25.0
    hop_ms = 10.0

`worker.sound_arrays` computes it. The other keys of a mel spectrogram: low and high (Hz), scale ("htk", or "slaney",
whose bands have equal areas), power (1: amplitude, 2: energy), center (whether frames are centred at multiples of the
hop and the ends are mirrored, as librosa and torchaudio do by default; else the first frame begins at the first sample,
as in TensorFlow), log ("none", "ln", "log10", "db"), floor (the least value that a logarithm is taken of), range (after
the logarithm values further below the largest are raised to that distance), last_frame (false leaves the last frame
out), fft (length of the transform; by default the next power of two), mean and std (of the features, applied last).
Of a waveform: normalize (each sound gets a mean of 0 and a variance of 1, as wav2vec 2.0's models take it).

For models with the feature extractors of Whisper and wav2vec 2.0 (also HuBERT, WavLM, …) they are read from the
preprocessor_config.json beside the model, and [audio] overrides them. Other extractors are refused, unless [audio]
states the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError
from edgehone.inputs.preprocessing import read_object

FORMS = ("samples", "mel")
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "features": FORMS,
    "scale": ("htk", "slaney"),
    "power": (1, 2),
    "center": (True, False),
    "last_frame": (True, False),
    "normalize": (True, False),
    "log": ("none", "ln", "log10", "db"),
}
# The least and the largest value of each number.
_RANGES: Mapping[str, tuple[float, float]] = {
    "rate": (1000, 192_000),
    "seconds": (0.001, 3600),
    "bins": (1, 512),
    "window_ms": (1, 1000),
    "hop_ms": (0.1, 1000),
    "low": (0, 96_000),
    "high": (1, 96_000),
    "floor": (1e-20, 1),
    "range": (0.01, 1000),
    "fft": (2, 1 << 17),
    "mean": (-1e9, 1e9),
    "std": (1e-9, 1e9),
}
_WHOLE = ("rate", "bins", "fft")
_SWITCHES = ("center", "last_frame", "normalize")
FILE = "preprocessor_config.json"
DEFAULTS: Mapping[str, Any] = {
    "rate": 16000,
    "features": "samples",
    "bins": 80,
    "window_ms": 25.0,
    "hop_ms": 10.0,
    "low": 0.0,
    "scale": "htk",
    "power": 2,
    "center": False,
    "log": "ln",
    "floor": 1e-6,
    "mean": 0.0,
    "std": 1.0,
}
# What WhisperFeatureExtractor of transformers computes besides the numbers in its file (feature_extraction_whisper.py).
_WHISPER: Mapping[str, Any] = {
    "features": "mel", "low": 0.0, "high": 8000.0, "scale": "slaney", "power": 2, "center": True, "log": "log10",
    "floor": 1e-10, "range": 8.0, "last_frame": False, "mean": -4.0, "std": 4.0,
}  # fmt: skip


def of(config: Mapping[str, Any], folder: Path | None = None) -> dict[str, Any]:
    """Return [audio] of edgehone.toml, over preprocessor_config.json in `folder`, over the defaults.

    `high` is half the rate; `seconds`, `fft`, `range`, `last_frame` and `normalize` are missing if not stated. Raises
    InputError with the offending value.
    """
    given = dict(config.get("audio", {}))
    for name, value in given.items():
        _check(name, value)
    found = {**DEFAULTS, **(read_file(folder / FILE, "features" in given) if folder else {}), **given}
    found.setdefault("high", found["rate"] / 2)
    if not found["low"] < found["high"] <= found["rate"] / 2:
        raise InputError(
            f"[audio] low = {found['low']:g} and high = {found['high']:g} in edgehone.toml, at a rate of "
            f"{found['rate']}",
            hint="low must be below high, and high at most half the rate",
        )
    return found


def _check(name: str, value: Any) -> None:
    if name in _CHOICES:
        if value not in _CHOICES[name] or isinstance(value, bool) != (name in _SWITCHES):
            listed = ", ".join(str(one) for one in _CHOICES[name])
            raise InputError(f"[audio] {name} = {value!r} in edgehone.toml", hint=f"one of {listed}")
        return
    known = ", ".join([*_CHOICES, *_RANGES])
    if name not in _RANGES:
        raise InputError(f"[audio] {name} in edgehone.toml is not known", hint=f"known are {known}")
    low, high = _RANGES[name]
    number = isinstance(value, int) if name in _WHOLE else isinstance(value, (int, float))
    if not number or isinstance(value, bool) or not low <= value <= high:
        kind = "a whole number" if name in _WHOLE else "a number"
        raise InputError(
            f"[audio] {name} = {value!r} in edgehone.toml", hint=f"{kind} from {low:g} to {high:g}"
        )


def read_file(path: Path, features_stated: bool = False) -> dict[str, Any]:
    """Return what a preprocessor_config.json says of sounds; {} without it, and for one of images.

    With `features_stated` other extractors than those that are computed here are passed over. Raises InputError for
    them else, for a file that cannot be read, and for values that cannot be meant.
    """
    data = read_object(path)
    kind = data.get("feature_extractor_type")
    if kind == "WhisperFeatureExtractor":
        found = _whisper(data, path)
    elif kind == "Wav2Vec2FeatureExtractor":
        rate = _number(data, "sampling_rate", 16_000, path)
        found = {"features": "samples", "rate": int(rate), "normalize": data.get("do_normalize", True)}
    elif kind is None or features_stated or "image_mean" in data or "do_resize" in data:
        return {}
    else:
        raise InputError(
            f"{path}: feature_extractor_type is {kind!r}, whose features edgehone does not compute",
            hint="state what the model takes under [audio] in edgehone.toml (features, rate, …), or give FILE.npz",
        )
    for name, value in found.items():
        _check(name, value)
    return found


def _whisper(data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    usual = {
        "sampling_rate": 16_000,
        "feature_size": 80,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": 30,
    }
    numbers = {name: _number(data, name, value, path) for name, value in usual.items()}
    rate, size = numbers["sampling_rate"], numbers["n_fft"]
    return {
        **_WHISPER,
        "rate": int(rate),
        "bins": int(numbers["feature_size"]),
        "hop_ms": 1000 * numbers["hop_length"] / rate,
        "window_ms": 1000 * size / rate,
        "fft": int(size),
        "seconds": numbers["chunk_length"],
    }


def _number(data: Mapping[str, Any], name: str, usual: float, path: Path) -> float:
    value = data.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1 << 20:
        raise InputError(f"{path}: {name} is {value!r}", hint="repair it, or copy it from the original model")
    return value
