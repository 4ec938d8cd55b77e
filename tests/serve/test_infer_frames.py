"""The server's end of the socket of a graph's engine."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgehone.serve.infer.frames import Frames
from edgehone.serve.infer.tensor import Tensor
from edgehone.worker.frames import HEAD

TEXT = b'{"together":1,"tensors":[["a","float32",[2]],["b","uint8",[%d]]]}'


def message(number: int) -> tuple[bytes, list[float], bytes]:
    """Return a message, and the entries of its tensors."""
    entries, flags = [float(number), 0.5], bytes(range(number % 5))
    text, body = TEXT % len(flags), np.array(entries, np.float32).tobytes() + flags
    return HEAD.pack(len(text), len(body), number) + text + body, entries, flags


@given(st.lists(st.integers(1, 400), max_size=12), st.integers(0, 6))
def test_messages_arrive_however_they_are_cut(cuts: list[int], count: int) -> None:
    found: list[tuple[int, dict[str, Any], list[Tensor]]] = []

    async def receive(parts: list[bytes]) -> None:
        frames = Frames(lambda *one: found.append(one))
        for part in parts:
            frames.data_received(part)

    sent = [message(number) for number in range(1, count + 1)]
    whole = b"".join(text for text, _, _ in sent)
    ends = sorted({min(sum(cuts[: at + 1]), len(whole)) for at in range(len(cuts))} | {0, len(whole)})
    parts = [whole[begin:end] for begin, end in itertools.pairwise(ends)]
    asyncio.run(receive(parts))
    assert [one[0] for one in found] == [*range(1, count + 1)]
    for (_, said, tensors), (_, entries, flags) in zip(found, sent, strict=True):
        assert said["together"] == 1
        assert tensors[0].array.tolist() == entries and bytes(tensors[1].data) == flags
