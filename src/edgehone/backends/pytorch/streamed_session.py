"""Score texts with an original that is run block by block, for models that fill the memory (worker side)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.pytorch import streamed
from edgehone.backends.pytorch.session import WHOLE_LOGITS_BYTES, as_logits
from edgehone.backends.pytorch.streamed import Activations
from edgehone.backends.pytorch.tokenizer import load_tokenizer
from edgehone.core.errors import EdgehoneError

if TYPE_CHECKING:
    from edgehone.backends.sessions import Generation, Logits


class StreamedSession:
    """A causal language model of transformers in float32, of which one block is in memory.

    Texts announced by `foresee` pass through each block together; any other text runs through all blocks alone.
    Raises NotStreamable if the model cannot be run in this way.
    """

    def __init__(self, folder: Path, spill: Path) -> None:
        """`spill` is a folder for activations, which is removed at the end."""
        self.tokenizer = load_tokenizer(folder)
        self.stream = streamed.open_stream(folder)
        self.vocabulary = int(self.stream.head.weight.shape[0])
        self._spill = spill
        self._files = 0
        self._known: dict[tuple[int, ...], list[tuple[Activations, int]]] = {}

    def tokenize(self, text: str) -> list[int]:
        """Return ids, with the special tokens that the tokenizer adds by default."""
        return [int(i) for i in self.tokenizer(text, verbose=False).input_ids]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def foresee(
        self,
        sequences: Sequence[Sequence[int]],
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> None:
        """Run sequences that will be scored through all blocks; their last hidden states are kept in files."""
        lengths: dict[int, list[tuple[int, ...]]] = {}
        for ids in sequences:
            lengths.setdefault(len(ids), []).append(tuple(ids))
        with streamed.without_gradients():
            files = [(self._embed(many), many) for many in lengths.values()]
            count = len(self.stream.blocks)
            for number in range(count):
                progress(number / count)
                with self.stream.resident(number):
                    for activations, _ in files:
                        for window in range(len(activations)):
                            activations[window] = self.stream.run(number, activations[window])
        for activations, many in files:
            for window, known in enumerate(many):
                self._known.setdefault(known, []).append((activations, window))

    def _embed(self, windows: Sequence[Sequence[int]]) -> Activations:
        self._files += 1
        return self.stream.embed(windows, self._spill / f"{self._files}.npy")

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Yield the logits of one forward pass over all ids, in parts if they are large."""
        known = tuple(ids)
        if not self._known.get(known):
            self.foresee([known])
        activations, window = self._known[known].pop()
        rows = max(1, WHOLE_LOGITS_BYTES // (4 * self.vocabulary))
        with streamed.without_gradients():
            normalized = self.stream.normalized(activations[window])
            for begin in range(0, len(known), rows):
                yield as_logits(self.stream.logits(normalized[:, begin : begin + rows]))

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """Raise EdgehoneError: each token would read all weights again."""
        raise EdgehoneError("a session that streams the model by block scores texts only")

    def close(self) -> None:
        """Free the weights and remove the activations."""
        self._known.clear()
        shutil.rmtree(self._spill, ignore_errors=True)
        stream: Any = self.stream
        del stream.model
