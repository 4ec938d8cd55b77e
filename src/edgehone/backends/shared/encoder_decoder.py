"""An encoder-decoder in two parts, as a graph: the logits after each token that it is given (worker side).

The parts run as they do when a text is generated: the encoder once, then the decoder for each token, with its cache. So
the time of a request is that of generating a text of that length, and a cache that loses precision is judged too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from edgehone.core.errors import JobError
from edgehone.model.encoder_decoder import IDS, LOGITS, MASK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


class Parts(Protocol):
    """The encoder and the decoder of a model, opened by a framework."""

    def begin(self, source: Arrays) -> None:
        """Run the encoder, and forget the tokens so far."""
        ...

    def step(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Return the logits after the next ids [batch, n]: float32 [batch, n, vocabulary]."""
        ...

    def close(self) -> None:
        """Free the memory."""
        ...


class EncoderDecoderSession:
    """A `GraphSession` of two parts, which can also generate (see `edgehone.worker.decode`)."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Return the logits [batch, tokens, vocabulary] after each of the decoder's ids.

        Where the mask says that a text is over, those of its tokens are repeated from the first on, so that texts of
        different lengths have arrays of one shape and every entry is one of a text. Raises JobError without the ids.
        """
        import numpy as np

        if IDS not in feeds:
            raise JobError(f"an encoder-decoder takes {IDS}, not {', '.join(feeds)}")
        ids = feeds[IDS]
        self.parts.begin({name: array for name, array in feeds.items() if name not in (IDS, MASK)})
        logits = np.concatenate([self.parts.step(ids[:, at : at + 1]) for at in range(ids.shape[1])], axis=1)
        if MASK in feeds:
            lengths = np.maximum(np.asarray(feeds[MASK]).sum(1), 1)
            rows = np.arange(ids.shape[1])[None] % lengths[:, None]
            logits = np.take_along_axis(logits, rows[..., None], axis=1)
        return {LOGITS: logits}

    def close(self) -> None:
        """Free the memory."""
        self.parts.close()
