"""Inputs of stateful language models in IR, which keep keys and values of earlier tokens themselves (worker side)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def token_inputs(
    tokens: NDArray[Any], begin: int, ports: Iterable[Any], picture: range = range(0)
) -> dict[str, NDArray[Any]]:
    """Return the model's inputs for the next tokens of a single sequence, by name.

    `tokens` are ids [1, n] or embeddings [1, n, width], whose first one has position `begin`. `ports` are the inputs
    of the model: those that it does not have are left out. `picture` are the positions of a picture, whose tokens
    attend to each other in a model that is told them (Gemma 3).
    """
    import numpy as np

    end = begin + tokens.shape[1]
    arrays = {
        "input_ids" if tokens.ndim == 2 else "inputs_embeds": tokens,
        "attention_mask": np.ones((1, end), np.int64),
        "position_ids": np.arange(begin, end, dtype=np.int64)[None],
        "beam_idx": np.zeros(1, np.int32),
        "token_type_ids": np.array([[int(at in picture) for at in range(begin, end)]], np.int64),
    }
    names = {port.get_any_name() for port in ports}
    return {name: array for name, array in arrays.items() if name in names}
