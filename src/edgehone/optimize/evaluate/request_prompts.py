"""The prompts of timed requests: another one in each round, so that a speed is that of several texts.

The time of a plain request hardly depends on its text. With drafts it does: how many drafted tokens are kept is a
property of the prompt and its answer. Candidates are compared in the same rounds, so on the same prompts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edgehone.execution.job import Input
from edgehone.optimize.original import Original

# The most prompts: as many as the rounds of a normal run.
MOST = 8
# The group of rounds that confirm what others found: they begin with the prompts that those had last.
CONFIRMING = "confirming"
# The key of `Original.facts`.
FACT = "prompts"


def of_text(ids: Sequence[int], bos: Sequence[int], length: int) -> list[list[int]]:
    """Return prompts of `length` ids from places spread over a text; its beginning is the first."""
    own = length - len(bos)
    room = len(ids) - own
    places = sorted({room * number // (MOST - 1) for number in range(MOST)}) if room > 0 else [0]
    return [[*bos, *ids[at : at + own]] for at in places]


def of_conversations(done: Input, length: int) -> list[list[int]]:
    """Return prompts that end where an assistant's answer begins, each after as many conversations as `length` holds.

    [] if the conversations are too short for it.
    """
    scored = json.loads((done.path / "conversations.json").read_text("utf-8"))
    before: list[int] = []
    prompts = []
    for one in scored:
        whole = [*before, *one["ids"][: one["start"]]]
        if len(whole) >= length:
            prompts.append(whole[-length:])
        before = [*before, *one["ids"]][-length:]
    step = max(1, len(prompts) // MOST)
    return prompts[::step][:MOST]


def of_round(original: Original, number: int, group: str = "") -> dict[str, Any]:
    """Return the prompt of a round as an argument of its requests; nothing for requests without such prompts."""
    prompts = original.facts.get(FACT)
    if not prompts:
        return {}
    first = len(prompts) // 2 if group == CONFIRMING else 0
    return {"prompt": prompts[(first + number) % len(prompts)]}
