"""POST /v1/chat/completions, /v1/completions and /v1/responses, and GET /v1/models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.core.errors import InputError
from edgehone.serve.admission import Hold
from edgehone.serve.asked import no_model, texts_or_ids
from edgehone.serve.http import Refused, read_json
from edgehone.serve.model import LanguageModel, Model, Prompt
from edgehone.serve.openai import options
from edgehone.serve.openai.answers import CHAT, COMPLETION, Answer, Form
from edgehone.serve.openai.requests import ChatRequest, CompletionRequest, StreamOptions
from edgehone.serve.openai.responses import ResponseAnswer
from edgehone.serve.openai.responses_requests import ResponsesRequest, as_chat
from edgehone.serve.openai.tools import Tools
from edgehone.serve.openai.wanted import conversation, wanted
from edgehone.serve.operations import Operation
from edgehone.serve.record import Record
from edgehone.serve.watching import Watching

_PROMPTS = 64
# The names that fields of a chat have in the Responses API.
_FIELDS = {
    "messages": "input",
    "response_format": "text",
    "max_tokens": "max_output_tokens",
    "logprobs": "include",
}


class OpenAI:
    """The routes of the OpenAI API over some models, by name."""

    def __init__(self, models: Mapping[str, Model], watching: Watching, created: int) -> None:
        self._models, self._watching, self._created = models, watching, created

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation("POST", "/v1/chat/completions", self.chat, body=ChatRequest, streams=True),
            Operation("POST", "/v1/completions", self.completions, body=CompletionRequest, streams=True),
            Operation("POST", "/v1/responses", self.responses, body=ResponsesRequest, streams=True),
            Operation("GET", "/v1/models", self.models),
            Operation("GET", "/v1/models/{name:path}", self.one_model),
        ]

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        asked = await read_json(request, ChatRequest)
        model, record = self._model(request, asked.model)
        with model.admission.hold() as hold:
            prompt, tools = await self._conversation(asked, model)
            return await self._answer(request, asked, model, record, CHAT, [prompt], hold, tools)

    async def completions(self, request: Request) -> Response:
        """Continue one or several plain texts."""
        asked = await read_json(request, CompletionRequest)
        model, record = self._model(request, asked.model)
        options.check(asked, model)
        prompts = texts_or_ids(asked.prompt, "prompt", _PROMPTS)
        with model.admission.hold() as hold:
            try:
                ids, texts = await _read(prompts, model, echo=bool(asked.echo))
            except InputError as error:
                raise Refused(400, error.message, field="prompt") from None
            echoes = [text for text in texts for _ in range(asked.n or 1)]
            read = list(map(Prompt, ids))
            return await self._answer(request, asked, model, record, COMPLETION, read, hold, echoes=echoes)

    async def responses(self, request: Request) -> Response:
        """Answer a conversation in the form of the Responses API, which stores nothing."""
        given = await read_json(request, ResponsesRequest)
        model, record = self._model(request, given.model)
        asked = as_chat(given)
        with model.admission.hold() as hold:
            try:
                prompt, tools = await self._conversation(asked, model)
                (one,) = wanted(asked, model, [prompt], tools)
            except Refused as error:
                field = _FIELDS.get(error.field or "", error.field)
                raise Refused(error.status, error.message, field=field, headers=error.headers) from None
            answer = ResponseAnswer(model, given, one, tools, hold, self._watching.metrics, record)
            return await (answer.stream(request) if given.stream else answer.whole(request))

    async def models(self, request: Request) -> Response:
        """Return the models that are served."""
        body = {"object": "list", "data": [self._described(name) for name in self._models]}
        return Response(msgspec.json.encode(body), media_type="application/json")

    async def one_model(self, request: Request) -> Response:
        """Return one model."""
        name = request.path_params["name"]
        if name not in self._models:
            raise no_model(name, self._models, "model")
        return Response(msgspec.json.encode(self._described(name)), media_type="application/json")

    async def _conversation(self, asked: ChatRequest, model: LanguageModel) -> tuple[Prompt, Tools | None]:
        prompt, tools = await conversation(asked, model)
        if prompt.control:
            self._watching.metrics.violated()
        return prompt, tools

    async def _answer(
        self,
        request: Request,
        asked: ChatRequest | CompletionRequest,
        model: LanguageModel,
        record: Record,
        form: Form,
        prompts: Sequence[Prompt],
        hold: Hold,
        tools: Tools | None = None,
        echoes: Sequence[str] = (),
    ) -> Response:
        told = asked.stream_options or StreamOptions()
        answer = Answer(
            model, form, wanted(asked, model, prompts, tools), sum(one.tokens for one in prompts),
            hold, self._watching.metrics, record, tools,
            usage_at_end=told.include_usage, obfuscated=told.include_obfuscation, echoes=echoes,
        )  # fmt: skip
        return await (answer.stream(request) if asked.stream else answer.whole(request))

    def _model(self, request: Request, name: str) -> tuple[LanguageModel, Record]:
        model = self._models.get(name)
        if model is None:
            raise no_model(name, self._models, "model")
        if not isinstance(model, LanguageModel):
            raise Refused(
                400,
                f"{name} generates no text: ask for POST /v2/models/{name}/infer",
                field="model",
            )
        return self._watching.begin(request, model, request.scope["path"])

    def _described(self, name: str) -> dict[str, Any]:
        told = {"id": name, "object": "model", "created": self._created, "owned_by": "edgehone"}
        certificate = self._models[name].served.certificate
        return {**told, "certificate": certificate} if certificate else told


async def _read(
    prompts: Sequence[str | list[int]], model: LanguageModel, *, echo: bool
) -> tuple[list[list[int]], list[str]]:
    """Return the ids of prompts, and with `echo` their texts. Raises InputError for what is no prompt of the model."""
    for one in prompts:
        if not isinstance(one, str):
            model.check_ids(one)
    ids = [await model.prompts.prompt(one) if isinstance(one, str) else one for one in prompts]
    texts = [
        one if isinstance(one, str) else await model.prompts.text(one) for one in (prompts if echo else ())
    ]
    return ids, texts
