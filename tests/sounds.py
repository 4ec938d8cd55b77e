"""Tones, and WAV files of every width."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16000


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE) -> Any:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def write_wave(path: Path, sound: Any, width: int = 2, channels: int = 1, rate: int = RATE) -> Path:
    scaled = np.round(sound * ((1 << (8 * width - 1)) - 1)).astype(np.int64)
    scaled = scaled + 128 if width == 1 else scaled
    raw = np.repeat(scaled, channels).astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.ascontiguousarray(raw).tobytes())
    return path
