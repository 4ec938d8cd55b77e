"""States of a graph: outputs that the next step takes as inputs.

A recurrent graph is exported for one step: it takes an input and a state, and returns an output and the next state. Its
samples are then whole sequences, in which every step begins with the state that the last one left. `--state hn=h` names
a pair of an output and an input; pairs of one type and shape are recognized by their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.formats.graph import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HINT = "--state OUTPUT=INPUT: an output, and the input that takes it in the next step"
# Words in names of inputs that hold the last state, and of outputs that hold the next one.
_BEFORE = frozenset({"in", "input", "prev", "previous", "past", "last", "init", "initial", "old", "cur"})
_AFTER = frozenset({"out", "output", "next", "new", "present", "final", "n", "updated"})
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


@dataclass(frozen=True)
class State:
    """The output `output` is the input `input` of the next step.

    `shape` is the input's, with None for sizes that are free, and `dtype` its type.
    """

    output: str
    input: str
    shape: tuple[int | None, ...]
    dtype: str

    def start(self, axis: int | None, size: int) -> NDArray[np.generic]:
        """Return zeros, which sequences start from, for `size` samples along an axis.

        Raises InputError if another size is free.
        """
        import numpy as np

        shape = [size if at == axis else extent for at, extent in enumerate(self.shape)]
        if any(extent is None for extent in shape):
            free = ", ".join("?" if extent is None else str(extent) for extent in shape)
            raise InputError(
                f"the state {self.input!r} has the shape [{free}], so its first value cannot be made of zeros",
                hint=f"give the first value as the array {self.input!r} of the samples",
            )
        return np.zeros([extent or 0 for extent in shape], self.dtype)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {"output": self.output, "input": self.input, "shape": [*self.shape], "dtype": self.dtype}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> State:
        """Return the state of a dict made by `to_json`."""
        return cls(data["output"], data["input"], tuple(data["shape"]), data["dtype"])


def find(inputs: Sequence[Tensor], outputs: Sequence[Tensor], told: Sequence[str]) -> tuple[State, ...]:
    """Return the states that the values of --state name.

    Raises InputError for a value that names no output or input, for types or shapes that differ, for an output or input
    that is named twice, and if no input is left that is not a state.
    """
    states = tuple(_state(text, inputs, outputs) for text in told)
    for part in ("output", "input"):
        names = [getattr(one, part) for one in states]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"--state names the {part} {twice[0]!r} twice", hint=_HINT)
    if states and len(states) == len(inputs):
        raise InputError("every input is a state, so no input is left for the samples", hint=_HINT)
    return states


def recognize(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[str]:
    """Return the pairs OUTPUT=INPUT that names, types and shapes tell: state and stateN, h_in and h_out.

    An input that several outputs fit is no state, nor is any if all inputs would be.
    """
    fitting = {one.name: [other for other in outputs if _alike(other, one)] for one in inputs}
    found = [f"{outs[0].name}={name}" for name, outs in fitting.items() if len(outs) == 1]
    distinct = len({pair.split("=")[0] for pair in found}) == len(found)
    return found if distinct and len(found) < len(inputs) else []


def _state(text: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> State:
    output, equals, taken = (part.strip() for part in text.partition("="))
    if not equals:
        raise InputError(f"--state {text} is not OUTPUT=INPUT", hint=_HINT)
    source = _named(output, outputs, "output", text)
    target = _named(taken, inputs, "input", text)
    if source.dtype != target.dtype:
        raise InputError(
            f"--state {text}: the output is {source.dtype}, and the input takes {target.dtype}", hint=_HINT
        )
    if not _fits(source, target):
        raise InputError(
            f"--state {text}: the output has the shape {_shown(source)}, and the input takes {_shown(target)}",
            hint=_HINT,
        )
    if not target.ranked:
        raise InputError(
            f"--state {text}: the file states no shape for the input {taken!r}",
            hint="export the model with the shapes of its inputs",
        )
    shape = tuple(extent if isinstance(extent, int) else None for extent in target.shape)
    return State(output, taken, shape, target.dtype)


def _named(name: str, tensors: Sequence[Tensor], what: str, text: str) -> Tensor:
    by_name = {one.name: one for one in tensors}
    if name not in by_name:
        raise InputError(
            f"--state {text}: the graph has no {what} {name!r}; {suggest(name, list(by_name))}", hint=_HINT
        )
    return by_name[name]


def _fits(output: Tensor, taken: Tensor) -> bool:
    """Return False if the shapes contradict each other."""
    if not output.ranked or not taken.ranked:
        return True
    return len(output.shape) == len(taken.shape) and all(
        one == other or not isinstance(one, int) or not isinstance(other, int)
        for one, other in zip(output.shape, taken.shape, strict=True)
    )


def _alike(output: Tensor, taken: Tensor) -> bool:
    """Return True if the names say that one is the other's next value, and type and shape agree.

    A single number is none: an output and an input called alike may be a threshold and what exceeds it.
    """
    if output.dtype != taken.dtype or not taken.ranked or not taken.shape or not _fits(output, taken):
        return False
    after, before = list(_words(output.name)), list(_words(taken.name))
    stem_after = [word for word in after if word not in _AFTER]
    stem_before = [word for word in before if word not in _BEFORE]
    marked = len(stem_after) < len(after) or len(stem_before) < len(before)
    return marked and bool(stem_after) and stem_after == stem_before


def _words(name: str) -> Iterator[str]:
    """Yield the words of a name in lower case. PyTorch's documents call states h_0, c_0, and then h_n, c_n."""
    found = [word.lower() for word in _WORDS.findall(name.replace("past_key_values", "past"))]
    for at, word in enumerate(found):
        if word in ("hn", "cn"):
            yield from word
        elif word == "0" and at == len(found) - 1:
            yield "init"
        else:
            yield word


def _shown(one: Tensor) -> str:
    return "[" + ", ".join("?" if extent is None else str(extent) for extent in one.shape) + "]"
