"""Sounds: what is not heard does not count, and what is heard does."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray

from edgehone.core.errors import InputError
from edgehone.evaluation import agreement, output_roles, roles, sounds
from edgehone.inputs.output_sizes import aligned, joined

Sounds = NDArray[np.float64]
RNG = np.random.default_rng(4)


def spoken(seed: int, tempo: float = 1.0, count: int = 24_000) -> Sounds:
    """Vowel-like sounds of a voice whose pitch and loudness change, at 22,050 Hz.

    The first half is spoken `tempo` times as fast, the second as much slower.
    """
    rng = np.random.default_rng(seed)
    time = np.cumsum(np.where(np.arange(count) < count // 2, tempo, 2 - tempo)) / 22_050
    pitch = 120 + 40 * np.sin(4 * np.pi * time + rng.uniform(0, 6))
    phase = np.cumsum(pitch) / 22_050 * 2 * np.pi
    loud = np.clip(np.sin(2 * np.pi * (2 + rng.uniform()) * time), 0, 1)
    tones = sum(np.sin(k * phase + k) / k * (1 + np.sin(0.4 * np.pi * k * time)) for k in range(1, 20))
    return np.asarray(0.2 * loud * tones)


ORIGINAL = np.stack([spoken(seed) for seed in range(4)])


def kept(candidate: Sounds, original: Sounds = ORIGINAL) -> float:
    value = sounds.alike([*original], [*candidate]).figure().value
    assert value is not None
    return value


def turned(sound: Sounds) -> Sounds:
    lines = np.fft.rfft(sound)
    return np.asarray(np.fft.irfft(np.abs(lines) * np.exp(1j * (np.angle(lines) + 0.7)), len(sound)))


@pytest.mark.parametrize(
    ("change", "least", "most"),
    [
        (lambda x: x, 1.0, 1.0),
        (lambda x: np.apply_along_axis(turned, 1, x), 0.99, 1.0),
        (lambda x: np.roll(x, 300, 1), 0.97, 1.0),
        (lambda x: 0.95 * x, 0.99, 1.0),
        (lambda x: x + RNG.normal(0, 2e-5, x.shape), 0.99, 1.0),
        (lambda x: np.concatenate([x, np.zeros((len(x), 3000))], 1)[:, : x.shape[1]], 1.0, 1.0),
        (lambda x: x + RNG.normal(0, 0.02, x.shape), 0.0, 0.5),
        (lambda x: RNG.normal(0, 0.1, x.shape), 0.0, 0.1),
        (np.zeros_like, 0.0, 0.1),
        (lambda x: 0.2 * x, 0.0, 0.9),
        (lambda x: x[::-1], 0.0, 0.8),
        (lambda x: x[:, ::-1], 0.0, 0.8),
        (lambda x: np.where(np.arange(x.shape[1]) < x.shape[1] // 2, x, 0), 0.0, 0.9),
    ],
    ids=[
        *("same", "phase", "start", "louder", "hiss", "ending"),
        *("noise", "only-noise", "silence", "soft", "others", "backwards", "half"),
    ],
)
def test_what_is_heard_counts(change: Callable[[Sounds], Sounds], least: float, most: float) -> None:
    assert least <= kept(change(ORIGINAL)) <= most


def test_a_sound_that_is_spoken_slower_for_a_while_is_the_same_one() -> None:
    slower = np.stack([spoken(seed, 0.94) for seed in range(len(ORIGINAL))])
    entries = 1 - np.abs(slower - ORIGINAL).sum() / np.abs(ORIGINAL).sum()
    assert kept(slower) > 0.9
    assert entries < 0.5


def notes(count: int) -> Sounds:
    """Steady notes, whose beginning is like their end."""
    time = np.arange(24_000) / 22_050
    return np.stack([0.3 * np.sin(2 * np.pi * 220 * 2 ** (at / 12) * time) for at in range(count)])


def judged(reference: list[Sounds], candidate: list[Sounds]) -> float:
    """What is kept of sounds of these lengths, as a run judges them."""
    sides = [joined("audio", [one[None, None] for one in side]) for side in (reference, candidate)]
    found = output_roles.recognize(aligned(sides[0], sides[0])[0])
    ours, theirs = aligned(sides[0], sides[1], roles.padded(found))
    every = agreement.figures(ours, theirs, roles.with_sizes(found, ours))
    value = every["accuracy_kept"].value
    assert value is not None
    return value


def test_a_sound_that_ends_early_is_noticed_though_all_of_it_is_alike() -> None:
    whole = [*notes(12)]
    assert judged(whole, whole) == 1.0
    assert judged(whole, [one[:2400] for one in whole]) < 0.2
    assert judged(whole, [whole[0], *(one[:2400] for one in whole[1:])]) < 0.3
    assert judged(whole, [np.where(np.arange(24_000) < 2400, one, 0) for one in whole]) < 0.2
    assert judged(whole, [np.concatenate([one, one[:256]]) for one in whole]) > 0.95
    unequal = [one[: 24_000 - 256 * at] for at, one in enumerate(whole)]
    assert judged(unequal, [one[: len(one) // 10] for one in unequal]) < 0.2


def test_a_sound_that_is_nearly_silent_among_loud_ones_decides_nothing() -> None:
    quiet = ORIGINAL.copy()
    quiet[0] = RNG.normal(0, 1e-8, quiet.shape[1])
    other = quiet.copy()
    other[0] = RNG.normal(0, 1e-7, quiet.shape[1])
    assert kept(other, quiet) == pytest.approx(1.0, abs=1e-6)


def test_an_offset_is_not_heard() -> None:
    assert kept(ORIGINAL + 0.01) > 0.99


def test_sounds_in_whole_numbers() -> None:
    pcm = {"audio": (ORIGINAL / np.abs(ORIGINAL).max() * 32_000).astype(np.int16)}
    found = output_roles.recognize(pcm)
    assert [one.role for one in found] == ["sound"]
    value = agreement.figures(pcm, {"audio": pcm["audio"] + np.int16(1)}, found)["accuracy_kept"].value
    assert value is not None and value > 0.99


def test_a_noise_in_the_place_of_silence_counts() -> None:
    silence = np.zeros((2, 4096))
    assert kept(silence, silence) == 1.0
    assert kept(RNG.normal(size=silence.shape), silence) == 0.0


@settings(max_examples=30, deadline=None)
@given(n=some.integers(1, 9), m=some.integers(1, 9), seed=some.integers(0, 99))
def test_the_path_is_the_cheapest(n: int, m: int, seed: int) -> None:
    costs = np.random.default_rng(seed).integers(0, 9, (n, m)).astype(float)
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0.0
    for i in range(n):
        for j in range(m):
            total[i + 1, j + 1] = costs[i, j] + min(total[i, j + 1], total[i + 1, j], total[i, j])
    path = [*sounds._path(costs)]
    assert path[0] == (n - 1, m - 1) and path[-1] == (0, 0)
    assert all(0 <= a - c <= 1 and 0 <= b - d <= 1 for (a, b), (c, d) in itertools.pairwise(path))
    assert sum(costs[pair] for pair in path) == total[n, m]  # 9 frames are all near enough


def test_a_sound_is_recognized_by_its_unequal_length_or_its_name() -> None:
    unequal = joined("output", [ORIGINAL[:1, None, :20_000], ORIGINAL[1:2, None]])
    assert [one.role for one in output_roles.recognize(unequal)] == ["sound", "size"]
    assert output_roles.recognize({"audio": ORIGINAL})[0].role == "sound"
    assert output_roles.recognize({"output": ORIGINAL})[0].role != "sound"
    assert output_roles.recognize({"audio_power": ORIGINAL**2})[0].role != "sound"
    assert output_roles.recognize({"output": ORIGINAL}, kind="sound")[0].role == "sound"
    with pytest.raises(InputError, match="no output can be judged as a sound"):
        output_roles.recognize({"scores": ORIGINAL[:, :9]}, kind="sound")
