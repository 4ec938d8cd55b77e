"""POST /v1/embeddings of the OpenAI API, for encoders of texts."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.core.errors import InputError
from edgehone.model.embedding import Embedding
from edgehone.serve.asked import no_model, texts_or_ids
from edgehone.serve.http import Refused, read_json, unless_gone
from edgehone.serve.infer.embedding import Vectors, embed, ids_of
from edgehone.serve.infer.model import GraphModel
from edgehone.serve.model import Model
from edgehone.serve.operations import Operation
from edgehone.serve.record import Record
from edgehone.serve.watching import Watching

_TEXTS = 256


class EmbeddingsRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /v1/embeddings."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None  # who asks; not used


class Embeddings:
    """The route over some models, by name."""

    def __init__(self, models: Mapping[str, Model], watching: Watching) -> None:
        self._models, self._watching = models, watching

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [Operation("POST", "/v1/embeddings", self.embeddings, body=EmbeddingsRequest)]

    async def embeddings(self, request: Request) -> Response:
        """Answer with a vector of each text."""
        begun = time.perf_counter()
        asked = await read_json(request, EmbeddingsRequest)
        model, record = self._watching.begin(request, self._encoder(asked.model), "/v1/embeddings")
        embedding = model.served.embedding
        assert isinstance(embedding, Embedding)
        if asked.dimensions is not None:
            raise Refused(400, "dimensions is not supported: leave it out", field="dimensions")
        texts = texts_or_ids(asked.input, "input", _TEXTS)
        try:
            vectors = await unless_gone(request.receive, _vectors(model, embedding, texts, record))
        except InputError as error:
            raise Refused(400, error.message, field="input") from None
        metrics, record.prompt_tokens = self._watching.metrics, vectors.tokens
        metrics.of(model.name).seconds.observe(time.perf_counter() - begun)
        metrics.of(model.name).prompt_tokens.inc(vectors.tokens)
        return Response(_body(asked, vectors), media_type="application/json")

    def _encoder(self, name: str) -> GraphModel:
        model = self._models.get(name)
        if model is None:
            raise no_model(name, self._models, "model")
        if not isinstance(model, GraphModel):
            raise Refused(400, f"{name} is no encoder: ask for POST /v1/completions", field="model")
        if isinstance(model.served.embedding, str):
            raise Refused(400, f"{name} makes no vectors of texts: {model.served.embedding}", field="model")
        return model


async def _vectors(
    model: GraphModel, embedding: Embedding, texts: Sequence[str | list[int]], record: Record
) -> Vectors:
    await model.load()
    ids = [await ids_of(model, embedding, one) if isinstance(one, str) else one for one in texts]
    record.ids = ids[0]
    return await embed(model, embedding, ids, record)


def _body(asked: EmbeddingsRequest, vectors: Vectors) -> bytes:
    data: list[dict[str, Any]] = [
        {
            "object": "embedding",
            "index": at,
            "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode()
            if asked.encoding_format == "base64"
            else row.tolist(),
        }
        for at, row in enumerate(vectors.rows)
    ]
    usage = {"prompt_tokens": vectors.tokens, "total_tokens": vectors.tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": asked.model, "usage": usage})
