"""Vectors of texts, by an encoder that is served: ids, hidden states of all tokens, and their pooling."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError
from edgehone.model.embedding import Embedding
from edgehone.serve.infer.model import GraphModel
from edgehone.serve.infer.tensor import Tensor
from edgehone.serve.record import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The value for each token of a single text that is not padded, of the inputs that encoders have besides the ids.
_FILLED = {"attention_mask": 1, "token_type_ids": 0}
_IDS = "input_ids"


@dataclass(frozen=True)
class Vectors:
    """The vectors of some texts, and the number of their tokens."""

    rows: Sequence[NDArray[np.float32]]
    tokens: int


async def ids_of(model: GraphModel, embedding: Embedding, text: str) -> list[int]:
    """Return the ids of a text, with the special tokens of the model."""
    assert model.prompts is not None
    return await model.prompts.prompt(embedding.prompt + text)


async def embed(
    model: GraphModel, embedding: Embedding, prompts: Sequence[Sequence[int]], record: Record | None = None
) -> Vectors:
    """Return the vectors of texts, which are given as ids. Texts are not padded: the engine joins those of one length.

    Raises InputError for a text with more tokens than the model takes, and what `GraphModel.infer_all` raises.
    """
    for at, ids in enumerate(prompts):
        if len(ids) > embedding.max_tokens:
            raise InputError(f"text {at} has {len(ids)} tokens; at most {embedding.max_tokens} fit")
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
    name = model.served.outputs[0].name
    answers = await model.infer_all([_feeds(model, prompts[at]) for at in order], [name], record)
    states = {at: answer.outputs[0] for at, answer in zip(order, answers, strict=True)}
    rows = await asyncio.to_thread(lambda: [_vector(states[at], embedding) for at in range(len(prompts))])
    return Vectors(rows, sum(map(len, prompts)))


def _feeds(model: GraphModel, ids: Sequence[int]) -> list[Tensor]:
    import numpy as np

    values = {
        _IDS: np.array([ids]),
        **{name: np.full((1, len(ids)), value) for name, value in _FILLED.items()},
    }
    return [Tensor.of(one.name, values[one.name].astype(one.dtype)) for one in model.served.inputs]


def _vector(states: Tensor, embedding: Embedding) -> Any:
    """Return the vector of a text with these hidden states, [1, tokens, width]."""
    import numpy as np

    rows = states.array[0].astype(np.float32)
    pooled = {
        "mean": lambda: rows.mean(0),
        "cls": lambda: rows[0],
        "max": lambda: rows.max(0),
        "lasttoken": lambda: rows[-1],
    }[embedding.pooling]()
    return pooled / max(float(np.linalg.norm(pooled)), 1e-12) if embedding.normalize else pooled
