"""Greedy generation with drafts: several tokens are verified in one pass over the weights (worker side).

A draft comes from the text itself (`shared.prompt_lookup`) or from a smaller model of the same vocabulary. One batch
computes what follows the last token and each drafted one; drafts are kept as long as they are what the model would have
chosen, so the tokens are those of plain greedy generation, but for ties that another order of summation decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from edgehone.backends.sessions import Generation
from edgehone.core.errors import JobError

# The smaller model in an artifact whose setting is `draft`.
DRAFT = "draft.gguf"


class Model(Protocol):
    """A session whose memory of a text can be taken back."""

    def prepare(self, length: int) -> None:
        """Provide an empty memory that holds `length` tokens."""
        ...

    def follow(self, ids: Sequence[int], begin: int, only_last: bool = False) -> list[int]:
        """Read ids from position `begin` on, and return the likeliest token after each, or after the last only."""
        ...

    def forget(self, begin: int) -> None:
        """Forget the tokens from position `begin` on."""
        ...


class Drafter(Protocol):
    """What proposes the next tokens of a text."""

    def add(self, token: int) -> None:
        """Append a token that was generated."""
        ...

    def draft(self, most: int) -> list[int]:
        """Return at most `most` tokens that may follow."""
        ...


def generate(
    session: Model,
    ids: Sequence[int],
    count: int,
    drafter: Drafter,
    most: int,
    on_token: Callable[[int], bool] | None,
) -> Generation:
    """Generate exactly `count` greedy tokens after `ids`, with at most `most` drafted ones at a time.

    The tokens of one pass have the same time. Raises JobError for a model whose memory cannot forget single tokens.
    """
    generated, times = list[int](), list[float]()
    started = time.perf_counter()
    session.prepare(len(ids) + count + most)
    found = [session.follow(ids, 0, only_last=True)[-1]]
    while True:
        moment = time.perf_counter()
        for token in found:
            generated.append(token)
            times.append(moment)
            drafter.add(token)
            if on_token is not None and on_token(token):
                return Generation(started, generated, times)
        if len(generated) >= count:
            return Generation(started, generated, times)
        drafted = drafter.draft(min(most, count - len(generated) - 1))
        begin = len(ids) + len(generated) - 1
        best = session.follow([generated[-1], *drafted], begin)
        kept = next((at for at, token in enumerate(drafted) if token != best[at]), len(drafted))
        found = best[: kept + 1]
        if kept < len(drafted):
            session.forget(begin + kept + 1)


class DraftModel:
    """A smaller model that proposes its own greedy continuation. It has read a prefix of the text, which it keeps."""

    def __init__(self, session: Model, ids: Sequence[int], room: int) -> None:
        """`room` is the number of tokens that will follow the ids at most, drafts included."""
        self._session = session
        self._ids, self._read = list(ids), list[int]()
        session.prepare(len(ids) + room)

    def add(self, token: int) -> None:
        """Append a token that was generated."""
        self._ids.append(token)

    def draft(self, most: int) -> list[int]:
        """Return the model's own `most` next tokens."""
        if most <= 0:
            return []
        same = next(
            (at for at, (a, b) in enumerate(zip(self._read, self._ids, strict=False)) if a != b),
            min(len(self._read), len(self._ids)),
        )
        if same < len(self._read):
            self._session.forget(same)
        drafted = [self._session.follow(self._ids[same:], same, only_last=True)[-1]]
        self._read = list(self._ids)
        while len(drafted) < most:
            drafted.append(self._session.follow(drafted[-1:], len(self._read))[-1])
            self._read.append(drafted[-2])
        return drafted


def cannot_forget() -> JobError:
    """Return the error for a model that cannot take tokens back."""
    return JobError(
        "this model's memory cannot forget single tokens, so drafted tokens cannot be taken back",
        hint="leave the settings prompt_lookup and draft out",
    )


def setting(settings: Any, name: str) -> int:
    """Return the number of drafted tokens that a setting asks for; 0 without it. Raises JobError for other values."""
    value = settings.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 64:
        raise JobError(f"{name} is {value!r}", hint=f"give {name} a number of tokens from 0 to 64")
    return value
