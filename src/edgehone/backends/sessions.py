"""What runs in a worker process: the job that a worker function gets, and the sessions that a backend opens.

These types are used on both sides; this module imports the standard library alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Logits = NDArray[np.float32]


@dataclass(frozen=True)
class WorkerJob:
    """What a function run by a worker gets.

    `args` are the parameters, `inputs` the folders and files it may read, `out` the empty folder it fills,
    `toolchain` the folder of the environment's toolchain, if any, `threads` how many it may use.
    `progress(fraction, what)` tells the person who waits. The function returns facts for result.json.
    """

    args: Mapping[str, Any]
    inputs: Mapping[str, Path]
    out: Path
    toolchain: Path | None
    threads: int
    progress: Callable[[float, str], None]


@dataclass(frozen=True)
class Generation:
    """A greedy generation: the new token ids and the moment (time.perf_counter, s) each was known."""

    started: float
    ids: list[int]
    times: list[float]


@dataclass(frozen=True)
class OperatorTime:
    """Time of one kind of operator, by the framework's own profiler, summed over its `calls` in one request.

    `phase` is "prefill" or "decode" of a language model, "run" of a graph; `operator` is the framework's own name.
    """

    phase: str
    operator: str
    calls: int
    seconds: float


class Session(Protocol):
    """An opened artifact: in a worker, one at a time.

    A session that serves several requests at once may have `generate_many` as `ManySession` has it; one without it is
    asked one after another.
    """

    def tokenize(self, text: str) -> list[int]:
        """Ids as the framework's own tokenizer gives them, with its own BOS rule."""
        ...

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        ...

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Logits after each of `ids`, from an empty context: float32 chunks [n, vocabulary], in order."""
        ...

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """Exactly `count` greedy tokens by the framework's native loop, end-of-text ignored.

        `on_token` gets each new id and may return True to stop early (not used while measuring).
        """
        ...

    def close(self) -> None:
        """Give memory back."""
        ...


class ManySession(Session, Protocol):
    """A session that serves several requests at once."""

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """Exactly `count` greedy tokens for each prompt, all under way together, in the order of the prompts.

        The tokens are those of `generate` but for ties. `started` is when the call began, for all.
        """
        ...


class GraphSession(Protocol):
    """An opened artifact of a graph (a model whose `kind` is "graph"): in a worker, one at a time."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs for a batch, by the original's own names of inputs and outputs; batch first."""
        ...

    def close(self) -> None:
        """Give memory back."""
        ...


class VisionSession(Protocol):
    """An opened language model that is given a picture: in a worker, one at a time.

    The picture stands between the ids `before` (the BOS and what marks the picture's begin) and `after` (what marks
    its end, and the prompt). How many positions it takes in between is the runtime's own matter.
    """

    def see(self, picture: NDArray[np.uint8], before: Sequence[int], after: Sequence[int]) -> Logits:
        """Logits after each of `after`, float32 [len(after), vocabulary]; `picture` is RGB [height, width, 3]."""
        ...

    def describe(
        self,
        picture: NDArray[np.uint8],
        before: Sequence[int],
        after: Sequence[int],
        count: int,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Exactly `count` greedy tokens, as `Session.generate`; it begins with encoding the picture."""
        ...

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Ids as the framework's own tokenizer gives them, with its own BOS rule."""
        ...

    def close(self) -> None:
        """Give memory back."""
        ...


class RoutingSession(Protocol):
    """An opened mixture of experts whose runtime tells which experts it chose."""

    def routing(self, ids: Sequence[int]) -> dict[int, NDArray[np.int16]]:
        """The experts chosen for each of `ids` from an empty context, by block: [tokens, k], in any order."""
        ...

    def close(self) -> None:
        """Give memory back."""
        ...
