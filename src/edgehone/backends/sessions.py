"""Types used in a worker process: the job that a worker function gets, and the sessions that a backend opens.

Core and workers both use these types. This module imports only the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Logits = NDArray[np.float32]
    Picture = NDArray[np.uint8]  # RGB, [height, width, 3]


@dataclass(frozen=True)
class WorkerJob:
    """The argument of a function that a worker runs. The function returns facts for result.json.

    `args` are parameters, `inputs` the folders and files to read, `out` an empty folder to fill, `toolchain` the folder
    of the environment's toolchain, if it has one, `threads` the number of threads to use. `progress(fraction, what)`
    reports progress to the user.
    """

    args: Mapping[str, Any]
    inputs: Mapping[str, Path]
    out: Path
    toolchain: Path | None
    threads: int
    progress: Callable[[float, str], None]


@dataclass(frozen=True)
class Generation:
    """A greedy generation: the new token ids, and the time in seconds at which each was available.

    Times are of `time.perf_counter`, or of the session's own clock if it has one (`ClockedSession`).
    """

    started: float
    ids: list[int]
    times: list[float]


@dataclass(frozen=True)
class OperatorTime:
    """The time of one kind of operator by the framework's own profiler, summed over its `calls` in one request.

    `phase` is "prefill" or "decode" for a language model, "run" for a graph; `operator` is the framework's name.
    """

    phase: str
    operator: str
    calls: int
    seconds: float


class Session(Protocol):
    """An opened artifact of a language model. A worker has one session open at a time."""

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of the framework's own tokenizer, with its own BOS rule."""
        ...

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of the ids, without special tokens."""
        ...

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Yield the logits after each id, from an empty context: float32 chunks [n, vocabulary], in order."""
        ...

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """Generate exactly `count` greedy tokens with the framework's native loop, ignoring end-of-text.

        `on_token` gets each new id and may return True to stop early (not used while measuring).
        """
        ...

    def close(self) -> None:
        """Free the memory."""
        ...


class Clock(Protocol):
    """A clock that sessions are timed by, in seconds."""

    def now(self) -> float:
        """Return the seconds since some fixed moment."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let some seconds pass."""
        ...


@runtime_checkable
class ClockedSession(Protocol):
    """A session whose times are computed, not measured: it is timed by its own clock.

    The clock starts at 0 when the session begins to open.
    """

    clock: Clock


@runtime_checkable
class DeviceMemorySession(Protocol):
    """A session that knows how much memory of its device it uses, for devices whose driver does not tell it."""

    def device_bytes(self) -> int | None:
        """Return the bytes that the session has allocated on its device now, None if it runs on the CPU."""
        ...


@runtime_checkable
class ForeseeingSession(Protocol):
    """A session that scores many texts together at less cost than one after another."""

    def foresee(
        self,
        sequences: Sequence[Sequence[int]],
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> None:
        """Prepare `Session.score` for sequences that will be scored once each. `progress` gets the share done."""
        ...


@runtime_checkable
class ConcurrentSession(Protocol):
    """A session that serves several prompts at once. Other sessions serve them one after another."""

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """Generate exactly `count` greedy tokens for each prompt, all concurrently, and return them in order.

        The tokens equal those of `generate` except for ties. `started` is the start of the call for all of them.
        """
        ...


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn, as in transformers: first the penalty, then temperature, top k, top p.

    `temperature` 0 takes the likeliest token. `top_k` 0 and `top_p` 1 do not restrict the choice; `repetition_penalty`
    1 does not penalize tokens of the prompt and of the text so far.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0


@runtime_checkable
class SamplingSession(Protocol):
    """A session that can draw tokens with the framework's own sampler. Other sessions are greedy."""

    def sample(
        self,
        ids: Sequence[int],
        count: int,
        sampling: Sampling,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Generate as `Session.generate` does, but draw each token. The same seed gives the same tokens."""
        ...


class GraphSession(Protocol):
    """An opened artifact of a graph (a model whose `kind` is "graph"). A worker has one session open at a time."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return all outputs for a batch. Inputs and outputs have the original's names and layout."""
        ...

    def close(self) -> None:
        """Free the memory."""
        ...


@runtime_checkable
class ShapeBoundSession(Protocol):
    """A session of a graph that is compiled again for every new shape of its inputs."""

    compiled_for_shape: bool


class VisionSession(Protocol):
    """An opened artifact of a vision-language model. A worker has one session open at a time.

    The picture stands between the ids `before` (BOS and the marker of the picture's start) and `after` (the marker of
    its end, and the prompt). The runtime decides how many positions the picture itself takes.
    """

    def score_picture(self, picture: Picture, before: Sequence[int], after: Sequence[int]) -> Logits:
        """Return the logits after each id of `after`: float32 [len(after), vocabulary]."""
        ...

    def describe(
        self,
        picture: Picture,
        before: Sequence[int],
        after: Sequence[int],
        count: int,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Generate exactly `count` greedy tokens, as `Session.generate` does; encoding the picture is timed too."""
        ...

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """Continue a prompt without a picture, as `Session.generate` does."""
        ...

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of the ids, without special tokens."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of the framework's own tokenizer, with its own BOS rule."""
        ...

    def close(self) -> None:
        """Free the memory."""
        ...


class TextSession(Protocol):
    """A runtime's own tokenizer."""

    def tokenize(self, text: str) -> list[int]:
        """Return ids with the tokenizer's own BOS rule."""
        ...

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of the ids, without special tokens."""
        ...

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for."""
        ...


class RoutingSession(Protocol):
    """An opened mixture-of-experts model whose runtime reports which experts it chose."""

    def routing(self, ids: Sequence[int]) -> dict[int, NDArray[np.int16]]:
        """Return the experts chosen for each id from an empty context, by block: [tokens, k], in any order."""
        ...

    def close(self) -> None:
        """Free the memory."""
        ...


class Tokenizer(Protocol):
    """The original's own tokenizer, opened by a reference backend.

    `bos` are the ids put in front of a text, `eos` those that end it, `vocabulary` the number of ids.
    """

    bos: list[int]
    eos: list[int]
    vocabulary: int

    def tokenize(self, text: str) -> list[int]:
        """Return ids with the tokenizer's own BOS rule."""
        ...

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """Return ids without BOS, and the number of UTF-8 bytes that each id covers."""
        ...

    def save(self, folder: Path) -> None:
        """Write what a bundle needs to tokenize and prompt as the original does, in the format of Hugging Face.

        These are tokenizer_config.json (special tokens, chat template, clean-up), generation_config.json if the
        original has one, and tokenizer.json for the library `tokenizers`. Without the last one, or if it gives other
        ids, a bundle uses its runtime's own tokenizer.
        """
        ...


class PictureProcessor(Protocol):
    """The original's own picture processor, opened by a reference backend.

    `size` is its input's edge in pixels, `token` what its chat template writes for a picture, `expanded` what the
    processor writes in its place, with the token `mark` where the picture itself is.
    """

    size: int
    token: str
    expanded: str
    mark: str

    def positions(self, picture: Picture) -> int:
        """Return how many positions of the context a picture takes."""
        ...

    def split(self, picture: Picture, prompt: str) -> tuple[list[int], list[int]]:
        """Return the ids before and after the picture in the model's own chat template with this prompt.

        A picture that is cut into several reaches from the first to the last of them. Raises ModelError if the
        prompt gets no picture.
        """
        ...

    def encode(self, text: str) -> list[int]:
        """Return ids without special tokens."""
        ...
