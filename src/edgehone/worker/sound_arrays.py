"""Turn WAV files into the array that a graph takes: the waveform, or its mel spectrogram (worker side, numpy only)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError
from edgehone.model.encoder_decoder import of_encoder
from edgehone.model.info import Tensor
from edgehone.worker.image_arrays import fitting_samples
from edgehone.worker.wave_file import read_wave

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# Zero crossings of the windowed sinc on each side when a file is resampled: aliases are below -60 dB.
_CROSSINGS = 16
# Output samples that are interpolated at a time.
_BLOCK = 1 << 14
# Added to the variance of a sound that is normalized: silence stays silent.
_LEAST_VARIANCE = 1e-7


def sound_array(
    paths: Sequence[Path], inputs: Sequence[Tensor], options: Mapping[str, Any]
) -> tuple[str, NDArray[np.generic]]:
    """Return the graph's input, and the sounds as it takes them; `options` are those of `inputs.sound.of`.

    Raises InputError for files that are no WAV, for an input of another form, and for lengths that the input does not
    take.
    """
    import numpy as np

    tensor = _only(of_encoder(inputs))
    rows = [_prepared(path, options) for path in paths]
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        lengths = sorted(row.shape[-1] for row in rows)
        raise InputError(
            f"the files give from {lengths[0]} to {lengths[-1]} values along time, and samples must be equally long",
            hint="state the length under [audio] in edgehone.toml: seconds = 1.0",
        )
    array = np.stack([_arranged(row, tensor) for row in rows])
    return tensor.name, np.ascontiguousarray(array.astype(tensor.dtype))


def resampled(sound: Floats, rate: int, wanted: int) -> Floats:
    """Return the sound at another rate, by a Hann-windowed sinc (Smith: Digital Audio Resampling)."""
    import numpy as np

    if rate == wanted:
        return sound
    factor = min(1.0, wanted / rate)  # below 1 frequencies that the new rate cannot hold are removed
    reach = math.ceil(_CROSSINGS / factor)
    padded = np.pad(sound, reach)
    count = max(1, len(sound) * wanted // rate)
    parts = []
    for begin in range(0, count, _BLOCK):
        at = np.arange(begin, min(begin + _BLOCK, count)) * (rate / wanted)
        first = np.floor(at).astype(np.int64)
        taps = np.arange(-reach + 1, reach + 1)
        distance = (first[:, None] + taps) - at[:, None]
        window = 0.5 + 0.5 * np.cos(np.pi * np.clip(distance / reach, -1, 1))
        weights = factor * np.sinc(factor * distance) * window
        parts.append((padded[first[:, None] + taps + reach] * weights).sum(1))
    return np.concatenate(parts).astype(np.float32)


def mel_spectrogram(sound: Floats, options: Mapping[str, Any]) -> Floats:
    """Return [bins, frames]: a short-time Fourier transform with a Hann window, summed in bands.

    The transform has `fft` or the next power of two as its length; the last frame is the last that fits whole, or with
    `last_frame` false the one before.
    """
    import numpy as np

    rate = options["rate"]
    window, hop = (round(rate * options[name] / 1000) for name in ("window_ms", "hop_ms"))
    size = options.get("fft", 1 << (window - 1).bit_length())
    if size < window:
        raise InputError(
            f"[audio] fft = {size} is shorter than the window of {window} samples", hint="leave fft out"
        )
    hann = np.hanning(window + 1)[:-1]
    if options["center"] and len(sound) > size // 2:
        sound = np.pad(sound, size // 2, mode="reflect")
        hann = np.pad(hann, ((size - window) // 2, size - window - (size - window) // 2))
    if len(sound) < len(hann) or hop < 1:
        raise InputError(
            f"a sound of {len(sound)} samples holds no window of {window}",
            hint="state a longer length under [audio] in edgehone.toml: seconds = 1.0",
        )
    frames = np.lib.stride_tricks.sliding_window_view(sound, len(hann))[::hop]
    frames = frames if options.get("last_frame", True) else frames[:-1]
    spectrum = np.abs(np.fft.rfft(frames * hann, size)) ** options["power"]
    bands = spectrum @ mel_filters(rate, size, options)
    found = _log(bands, options)
    if "range" in options:
        found = np.maximum(found, found.max() - options["range"])
    result: Floats = ((found - options["mean"]) / options["std"]).T.astype(np.float32)
    return result


def mel_filters(rate: int, size: int, options: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return [frequencies, bins], triangles that overlap by half on the mel scale; "slaney" has equal areas."""
    import numpy as np

    scale, bins = options["scale"], options["bins"]
    low, high = (_to_mel(options[name], scale) for name in ("low", "high"))
    edges = np.array([_to_hertz(mel, scale) for mel in np.linspace(low, high, bins + 2)])
    frequencies = np.linspace(0, rate / 2, size // 2 + 1)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    filters: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return filters * (2 / (edges[2:] - edges[:-2])) if scale == "slaney" else filters


def _to_mel(hertz: float, scale: str) -> float:
    """Return O'Shaughnessy's mels (HTK), or those of Slaney's Auditory Toolbox: linear below 1 kHz."""
    if scale == "htk":
        return 2595 * math.log10(1 + hertz / 700)
    return 3 * hertz / 200 if hertz < 1000 else 15 + math.log(hertz / 1000) * 27 / math.log(6.4)


def _to_hertz(mel: float, scale: str) -> float:
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return float(200 * mel / 3 if mel < 15 else 1000 * math.exp(math.log(6.4) / 27 * (mel - 15)))


def _log(bands: NDArray[np.float64], options: Mapping[str, Any]) -> NDArray[np.float64]:
    import numpy as np

    kept = np.maximum(bands, options["floor"])
    if options["log"] == "none":
        return bands
    found: NDArray[np.float64] = np.log(kept) if options["log"] == "ln" else np.log10(kept)
    decibels = 10 if options["power"] == 2 else 20
    return found * decibels if options["log"] == "db" else found


def _prepared(path: Path, options: Mapping[str, Any]) -> Floats:
    import numpy as np

    sound, rate = read_wave(path)
    sound = resampled(sound, rate, options["rate"])
    wanted = None if options.get("seconds") is None else round(options["seconds"] * options["rate"])
    sound = sound[:wanted]
    if options.get("normalize"):  # before silence is added, as transformers' Wav2Vec2FeatureExtractor does
        sound = (sound - sound.mean()) / np.sqrt(sound.var() + _LEAST_VARIANCE)
    if wanted is not None:
        sound = np.pad(sound, (0, wanted - len(sound)))
    return mel_spectrogram(sound, options) if options["features"] == "mel" else sound


def _only(inputs: Sequence[Tensor]) -> Tensor:
    if len(inputs) == 1 and inputs[0].dtype.startswith("float"):
        return inputs[0]
    described = "; ".join(f"{one.name} {one.dtype} {list(one.shape)}" for one in inputs)
    raise InputError(
        f"a folder of sounds needs a single input of floats; the model has {described}",
        hint=fitting_samples(inputs),
    )


def _arranged(row: Floats, tensor: Tensor) -> Floats:
    """Return a sound in the shape of the input: with axes of 1, and a spectrogram with time first where that fits."""
    import numpy as np

    shape = tensor.shape[1:]  # after the samples
    forms = [row, row.T] if row.ndim == 2 else [row]
    for form in forms:
        for ones in _places(len(shape), form.ndim):
            candidate = np.expand_dims(form, ones)
            if all(
                not isinstance(size, int) or size == own
                for size, own in zip(shape, candidate.shape, strict=True)
            ):
                return candidate
    raise InputError(
        f"the sounds have the shape {list(row.shape)}, and the input {tensor.name} takes {list(tensor.shape)}",
        hint="state seconds, rate, features, bins, window_ms and hop_ms of the model's training under [audio]",
    )


def _places(rank: int, own: int) -> list[tuple[int, ...]]:
    """Return where axes of 1 may be added to an array of `own` axes to have `rank`: leading ones, or trailing ones."""
    extra = rank - own
    return [tuple(range(extra)), tuple(range(own, rank))] if extra >= 0 else []
