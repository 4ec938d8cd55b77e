"""Which wave a device is in, and which release it may take."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from edgehone.core.errors import InputError
from edgehone.fleet.channel import Channel, Release, Wave
from edgehone.rollout.decision.assignment import position

_LABEL = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,39})=([A-Za-z0-9_.-]{1,60})")
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")
DEVICE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HINT = 'a share, as "10%", or labels, as "site=lab" or "site=lab,ring=0"'


def parse_waves(texts: Sequence[str]) -> tuple[Wave, ...]:
    """Return the waves that a user wrote; the last one has all devices. Raises InputError for an invalid one."""
    waves = [_wave(text) for text in texts]
    shares = [wave.share for wave in waves if wave.share is not None]
    if any(later <= earlier for earlier, later in pairwise(shares)):
        raise InputError(
            f"the waves {', '.join(texts)} do not grow",
            hint="shares are of all devices, earlier waves included",
        )
    if not shares or shares[-1] < 1 or waves[-1].share != 1:
        waves.append(Wave(name="all", share=1.0))
    names = [wave.name for wave in waves]
    if len(set(names)) < len(names):
        raise InputError(f"the waves {', '.join(texts)} are not all different", hint=_HINT)
    return tuple(waves)


def _wave(text: str) -> Wave:
    if share := _SHARE.fullmatch(text.strip()):
        if not 0 < (percent := float(share[1])) <= 100:
            raise InputError(f"the wave {text!r} is no share of devices", hint=_HINT)
        return Wave(name=f"{percent:g}%", share=percent / 100)
    return Wave(name=text.strip(), labels=parse_labels(text.split(",")))


def parse_labels(words: Sequence[str]) -> dict[str, str]:
    """Return labels from NAME=VALUE. Raises InputError for an invalid or repeated one."""
    found: dict[str, str] = {}
    for word in words:
        label = _LABEL.fullmatch(word.strip())
        if label is None or label[1] in found:
            raise InputError(f"{word!r} is no label", hint=_HINT)
        found[label[1]] = label[2]
    return found


def wave_of(waves: Sequence[Wave], device: str, labels: Mapping[str, str], salt: str) -> int:
    """Return the index of the first wave that a device is in. With another salt, other devices come first."""
    place = position(device, salt)
    for index, wave in enumerate(waves):
        if wave.share is not None and place < wave.share:
            return index
        if wave.labels and all(labels.get(name) == value for name, value in wave.labels.items()):
            return index
    return len(waves)


def allowed(channel: Channel, device: str, labels: Mapping[str, str]) -> Release | None:
    """Return the release that a device may take: the new one in open waves, else the one before it."""
    is_open = wave_of(channel.waves, device, labels, channel.release.manifest) < channel.open
    return channel.release if is_open and channel.halted is None else channel.before
