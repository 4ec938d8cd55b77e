"""The forms of requests that were read and checked before.

A client that sends tensors as bytes sends the same JSON before them each time, unless it numbers its requests. What the
JSON says is then looked up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgehone.serve.infer.tensor import Tensor

# So many forms are kept of a model, each of JSON with at most so many bytes.
_MOST, _LONGEST = 64, 4096


class Asked(NamedTuple):
    """A request: its inputs, the outputs that are wanted (None: all), and which of them are sent as bytes."""

    number: str | None
    tensors: Sequence[Tensor]
    outputs: Sequence[str] | None
    binary: Mapping[str, bool]
    all_binary: bool


class _Form(NamedTuple):
    """A request without its inputs; the name, type, shape, first and last place of each; the bytes of all."""

    asked: Asked
    places: Sequence[tuple[str, str, tuple[int, ...], int, int]]
    size: int


class Forms:
    """The forms of requests to one model."""

    def __init__(self) -> None:
        self._kept: dict[bytes, _Form] = {}

    def asked(self, text: bytes, data: memoryview) -> Asked | None:
        """Return the request with this JSON and these bytes after it, if its form is known and takes so many bytes."""
        form = self._kept.get(text)
        if form is None or form.size != len(data):
            return None
        tensors = [Tensor(name, dtype, shape, data[at:end]) for name, dtype, shape, at, end in form.places]
        return form.asked._replace(tensors=tensors)

    def keep(self, text: bytes, asked: Asked) -> None:
        """Keep the form of a request that was checked, and whose inputs were all sent as bytes."""
        if len(text) > _LONGEST:
            return
        if len(self._kept) >= _MOST:
            del self._kept[next(iter(self._kept))]
        places, at = [], 0
        for one in asked.tensors:
            places.append((one.name, one.dtype, one.shape, at, at + len(one.data)))
            at += len(one.data)
        self._kept[text] = _Form(asked._replace(tensors=()), places, at)
