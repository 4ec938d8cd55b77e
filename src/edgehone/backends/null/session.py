"""The tokenizer and the session of the null backend: a bigram model over bytes (worker side)."""

from __future__ import annotations

import json
import os
import shutil
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.null.clock import VirtualClock
from edgehone.backends.null.drawing import draw
from edgehone.backends.null.faults import Faults
from edgehone.backends.null.table import BOS, LIKELIEST, VOCABULARY, load
from edgehone.backends.sessions import Generation, Sampling
from edgehone.backends.shared.ids import check_ids
from edgehone.backends.shared.prompt_lookup import Lookup
from edgehone.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgehone.backends.sessions import Logits

# Simulated milliseconds per token, by bits; 32 is the original. A prompt token takes a tenth of it.
_PACE = {32: 4.0, 16: 2.2, 8: 1.0, 4: 0.5, 2: 0.4}
# The layers that can be on a device, where each takes a tenth of its time.
DEVICE_LAYERS = 8
# Simulated seconds to open a session.
_OPENING = 0.02


class NullTokenizer:
    """A tokenizer whose ids are the bytes of UTF-8."""

    bos = [BOS]  # noqa: RUF012
    eos: list[int] = []  # noqa: RUF012
    vocabulary = VOCABULARY

    def __init__(self, model: Path | None = None) -> None:
        self._model = model

    def tokenize(self, text: str) -> list[int]:
        """Return BOS and the bytes."""
        return [BOS, *text.encode()]

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """Return the bytes, and for each how many bytes of the text it covers: 1."""
        ids = list(text.encode())
        return ids, [1] * len(ids)

    def save(self, folder: Path) -> None:
        """Copy the model's configuration files. There is no tokenizer.json of bytes: sessions tokenize."""
        for name in ("tokenizer_config.json", "generation_config.json"):
            if self._model and (self._model / name).is_file():
                shutil.copyfile(self._model / name, folder / name)


class NullSession:
    """A bigram model over bytes."""

    def __init__(self, artifact: Path, settings: Mapping[str, Any]) -> None:
        self.clock = VirtualClock()
        self.artifact, self.coarse = artifact, bool(settings.get("coarse"))
        self.bits: int = json.loads((artifact / "null.json").read_text("utf-8"))["bits"]
        self.pace = _PACE[settings.get("pace", self.bits)] / 1000 / settings.get("hurry", 1)
        if self.coarse:
            self.pace /= 10
        if settings.get("device"):
            self.pace *= 1 - 0.9 * _layers_on_device(settings) / DEVICE_LAYERS
        if settings.get("stumble"):
            raise InputError("the null backend was asked to stumble")
        if settings.get("wall_clock_jumps"):
            _set_wall_clock(3600)
        self.faults = Faults.of(settings)
        if self.faults.reckless:
            self._read_recklessly()
        self.lookup, self.verify = int(settings.get("prompt_lookup", 0)), float(settings.get("verify", 0.1))
        self.ballast = b"\1" * (int(settings.get("ballast_mb", 0)) << 20)
        self.clock.sleep(_OPENING)

    @cached_property
    def table(self) -> NDArray[np.float32]:
        """The logits after each id, [257, 257]."""
        table = load(self.artifact, self.bits)
        return table.round(-1) if self.coarse else table

    @cached_property
    def likeliest(self) -> Sequence[int]:
        """The likeliest id after each id, read from the artifact so that generating does not import numpy."""
        if self.coarse:
            return [int(i) for i in self.table.argmax(1)]
        return array("H", (self.artifact / LIKELIEST).read_bytes())

    def tokenize(self, text: str) -> list[int]:
        """Return BOS and the UTF-8 bytes."""
        return NullTokenizer().tokenize(text)

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the bytes as text."""
        return bytes(i for i in ids if i < BOS).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """Return the byte that an id stands for."""
        return bytes([token]) if token < BOS else b""

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Return the table's rows of the ids."""
        check_ids(ids, VOCABULARY)
        yield self.faults.score(ids, self.table[list(ids)])

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """Generate greedily, at the simulated pace. A drafted token takes `verify` steps, kept or not."""
        check_ids(ids, VOCABULARY)
        self.faults.generate(len(ids))
        started = self.clock.now()
        self.clock.sleep(self.pace * len(ids) / 10 + self.faults.stutter())
        if self.lookup:
            return self._generate_drafted(started, ids, count, on_token)
        last, new, times = ids[-1], list[int](), list[float]()
        for _ in range(count):
            self.clock.sleep(self.pace)
            last = self.likeliest[last]
            new.append(last)
            times.append(self.clock.now())
            if on_token is not None and on_token(last):
                break
        return Generation(started, new, times)

    def _generate_drafted(
        self, started: float, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None
    ) -> Generation:
        text, new, times = Lookup(ids), list[int](), list[float]()
        last = ids[-1]
        while len(new) < count:
            drafted = text.draft(min(self.lookup, count - len(new) - 1)) if new else []
            self.clock.sleep(self.pace * (1 + self.verify * len(drafted)))
            for guess in [*drafted, None]:
                last = self.likeliest[last]
                new.append(last)
                times.append(self.clock.now())
                text.add(last)
                if on_token is not None and on_token(last):
                    return Generation(started, new, times)
                if guess != last:
                    break
        return Generation(started, new, times)

    def sample(
        self,
        ids: Sequence[int],
        count: int,
        sampling: Sampling,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Draw from the table's rows, at the simulated pace."""
        import numpy as np

        check_ids(ids, VOCABULARY)
        random, seen = np.random.default_rng(sampling.seed), set(ids)
        started, last, new, times = self.clock.now(), ids[-1], list[int](), list[float]()
        self.clock.sleep(self.pace * len(ids) / 10)
        for _ in range(count):
            self.clock.sleep(self.pace)
            last = draw(self.table[last].astype(np.float64), seen, sampling, random)
            seen.add(last)
            new.append(last)
            times.append(self.clock.now())
            if on_token is not None and on_token(last):
                break
        return Generation(started, new, times)

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """Generate for several prompts: a token of all of them takes as long as one token of one."""
        for ids in prompts:
            check_ids(ids, VOCABULARY)
        started = self.clock.now()
        texts: list[list[int]] = [[ids[-1]] for ids in prompts]
        times = list[float]()
        self.clock.sleep(self.pace * sum(map(len, prompts)) / 10)
        for _ in range(count):
            self.clock.sleep(self.pace)
            for text in texts:
                text.append(self.likeliest[text[-1]])
            times.append(self.clock.now())
        return [Generation(started, text[1:], times) for text in texts]

    def _read_recklessly(self) -> None:
        try:
            self.table.sum()
        except Exception:  # noqa: BLE001 - whatever is wrong with the file, the process is to end
            os.abort()

    def close(self) -> None:
        """No-op: there is nothing to release."""


def _layers_on_device(settings: Mapping[str, Any]) -> int:
    layers, room = settings.get("gpu_layers", DEVICE_LAYERS), settings.get("room", DEVICE_LAYERS)
    if layers > room:
        raise InputError(f"{layers} layers do not fit the device, which has room for {room}")
    return int(layers)


def _set_wall_clock(seconds: float) -> None:
    """Make this process read a wall clock that is set forward."""
    read = time.clock_gettime
    time.clock_gettime = lambda clock: read(clock) + seconds * (clock == time.CLOCK_REALTIME)
