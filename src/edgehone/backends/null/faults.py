"""Faults of a running artifact that settings ask of the null backend, for tests of what must find them (worker side).

leaks_kb        memory that each step of an engine keeps
slows_ms        what each answer of an engine adds to the time of the later steps
tires_after     steps of an engine take 40 ms longer after so many answers
wanders_after   an engine's answers are others after so many
fails_beyond    an engine fails requests while it has more than so many
talks           an engine prints the prompts that it gets
opens_s         seconds to open an engine
opens_once      the path of a file; an engine that finds it does not open, and the first one writes it
calls_home      generating sends a packet to an address outside
most_ids        longer prompts are refused
forgets_after   what is scored after so many ids is less certain
loses_repeats   what is scored within a phrase of 8 ids that is repeated is less certain
stutters_every  of so many answers of a session one takes half a second longer
reckless        the process ends if the table cannot be read
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError

if TYPE_CHECKING:
    from edgehone.backends.sessions import Logits

# An address of a block that is reserved for documentation (RFC 5737).
_OUTSIDE = ("192.0.2.1", 9)
_TIRED_SECONDS, _STUTTER_SECONDS = 0.04, 0.5


@dataclass
class Faults:
    """The faults that settings ask for; none by default."""

    leaks_kb: int = 0
    slows_ms: float = 0.0
    tires_after: int = 0
    wanders_after: int = 0
    fails_beyond: int = 0
    talks: bool = False
    opens_s: float = 0.0
    opens_once: str = ""
    calls_home: bool = False
    most_ids: int = 0
    forgets_after: int = 0
    loses_repeats: bool = False
    stutters_every: int = 0
    reckless: bool = False
    answered: int = 0
    kept: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Faults:
        """Return the faults in the settings."""
        names = {one.name for one in fields(cls)} - {"answered", "kept"}
        return cls(**{name: value for name, value in settings.items() if name in names})

    def open_engine(self) -> None:
        """Open slowly, or not again."""
        time.sleep(self.opens_s)
        if self.opens_once:
            marker = Path(self.opens_once)
            if marker.exists():
                raise InputError("the null backend was asked to open once only")
            marker.write_text("opened", "utf-8")

    def read_prompt(self, ids: list[int], running: int) -> None:
        """Print a prompt, or fail as one too many."""
        if self.talks:
            print(bytes(i for i in ids if i < 256).decode("utf-8", "replace"), flush=True)  # noqa: T201
        if self.fails_beyond and running > self.fails_beyond:
            raise RuntimeError("the null backend was asked to fail beyond so many requests")

    def step(self) -> None:
        """Keep memory, and take longer the more was answered."""
        if self.leaks_kb:
            self.kept.append(os.urandom(self.leaks_kb << 10))
        time.sleep(self.slows_ms * self.answered / 1000)
        if 0 < self.tires_after < self.answered:
            time.sleep(_TIRED_SECONDS)

    def wanders(self) -> bool:
        """Whether answers are others by now."""
        return 0 < self.wanders_after < self.answered

    def stutter(self) -> float:
        """Return by how many seconds an answer of a session takes longer."""
        self.answered += 1
        return _STUTTER_SECONDS if self.stutters_every and self.answered % self.stutters_every == 0 else 0.0

    def generate(self, ids: int) -> None:
        """Send a packet, or refuse a prompt of so many ids."""
        if self.calls_home:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                out.sendto(b"hello", _OUTSIDE)
        if self.most_ids and ids > self.most_ids:
            raise InputError(f"the null backend was asked to refuse {ids} ids")

    def score(self, ids: Sequence[int], logits: Logits) -> Logits:
        """Return the logits of a text, flatter after so many ids or within a phrase that is repeated."""
        if not self.forgets_after and not self.loses_repeats:
            return logits
        changed: Logits = logits.copy()
        if self.forgets_after:
            changed[self.forgets_after :] *= 0.3
        if self.loses_repeats:
            again = [list(ids[at - 11 : at - 7]) == list(ids[at - 3 : at + 1]) for at in range(11, len(ids))]
            changed[11:][again] *= 0.3
        return changed
