"""Perturb text and arrays as the world does, the same way each time (worker side)."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_WORD = re.compile(r"[A-Za-z]{4,}")
# One word in so many is changed: people mistype about one in ten.
_EVERY = 8
# Look-alikes of other scripts, full width, and letters with marks (some as two code points).
_OTHER = {
    "a": "áа", "b": "Ьｂ", "c": "çс", "d": "ďｄ", "e": "éе", "f": "ƒｆ", "g": "ğｇ", "h": "ħһ", "i": "íі", "k": "ķк",
    "l": "łｌ", "m": "m̃м", "n": "ñп", "o": "öо", "p": "þр", "r": "řг", "s": "šѕ", "t": "ţт", "u": "üυ", "v": "ṽѵ",
    "w": "ŵѡ", "x": "×х", "y": "ýу", "z": "žʐ",
}  # fmt: skip
# What is put between words: emoji (one of several code points), right-to-left text, CJK, a zero-width space.
_BETWEEN = ("🙂", "👩‍🔧", "שלום", "مرحبا", "漢字", "\u200b", "…", "—", "ﬁ")

TEXT_KINDS = ("typos", "unicode")
ARRAY_KINDS = ("noise", "blur", "brightness")


def text(kind: str, original: str, seed: int) -> str:
    """Return a text with typing errors, or with the characters of other scripts."""
    draw = random.Random(seed)
    if kind == "typos":
        return _WORD.sub(
            lambda found: _typo(found[0], draw) if not draw.randrange(_EVERY) else found[0], original
        )
    words = _WORD.sub(
        lambda found: _spelled(found[0], draw) if not draw.randrange(_EVERY) else found[0], original
    ).split(" ")
    for at in range(len(words) - 1, 0, -1):
        if not draw.randrange(2 * _EVERY):
            words.insert(at, draw.choice(_BETWEEN))
    return " ".join(words)


def _typo(word: str, draw: random.Random) -> str:
    """Swap two letters, or leave out, double or replace one."""
    at = draw.randrange(1, len(word) - 1)
    before, letter, after = word[:at], word[at], word[at + 1 :]
    return draw.choice(
        (
            f"{before}{after[:1]}{letter}{after[1:]}",
            before + after,
            before + 2 * letter + after,
            before + draw.choice("etaoinshrdlu") + after,
        )
    )


def _spelled(word: str, draw: random.Random) -> str:
    return "".join(draw.choice(_OTHER.get(letter, letter)) for letter in word)


def array(kind: str, original: Array, seed: int) -> Array:
    """Return samples [n, …] of floats with noise, blurred along the last two axes, or brighter and of less contrast.

    The strength is a share of the samples' own spread: noise of 10 % of the standard deviation, a mean over 3 entries,
    and an offset of 10 % of the range at 90 % of the contrast.
    """
    import numpy as np

    values = original.astype(np.float64)
    spread, low, high = float(values.std()), float(values.min()), float(values.max())
    if kind == "noise":
        changed = values + np.random.default_rng(seed).normal(0.0, 0.1 * spread, values.shape)
    elif kind == "blur":
        changed = _blurred(values)
    else:
        changed = low + 0.9 * (values - low) + 0.1 * (high - low)
    return np.clip(changed, low, high if kind != "brightness" else high + 0.1 * (high - low)).astype(
        original.dtype
    )


def _blurred(values: Array) -> Array:
    import numpy as np

    for axis in range(max(1, values.ndim - 2), values.ndim):
        if values.shape[axis] >= 3:
            padded = np.concatenate([values.take([0], axis), values, values.take([-1], axis)], axis)
            size = values.shape[axis]
            parts = [padded.take(range(shift, shift + size), axis) for shift in range(3)]
            values = (parts[0] + 2 * parts[1] + parts[2]) / 4
    return values
