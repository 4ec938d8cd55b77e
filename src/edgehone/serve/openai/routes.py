"""POST /v1/chat/completions, POST /v1/completions and GET /v1/models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.core.errors import InputError
from edgehone.serve.http import Refused, read_json
from edgehone.serve.metrics import Metrics
from edgehone.serve.model import LanguageModel, Model, Wanted
from edgehone.serve.openai import options
from edgehone.serve.openai.answers import CHAT, COMPLETION, Answer, Form
from edgehone.serve.openai.requests import (
    MOST_CHOICES,
    ChatRequest,
    CompletionRequest,
    Generate,
    StreamOptions,
)
from edgehone.serve.openai.tools import Tools, check_template, read_tools, template_message
from edgehone.serve.operations import Operation

_PROMPTS = 64


class OpenAI:
    """The routes of the OpenAI API over some models, by name."""

    def __init__(self, models: Mapping[str, Model], metrics: Metrics, created: int) -> None:
        self._models, self._metrics, self._created = models, metrics, created

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation("POST", "/v1/chat/completions", self.chat, body=ChatRequest, streams=True),
            Operation("POST", "/v1/completions", self.completions, body=CompletionRequest, streams=True),
            Operation("GET", "/v1/models", self.models),
            Operation("GET", "/v1/models/{name:path}", self.one_model),
        ]

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        asked = await read_json(request, ChatRequest)
        model = self._model(asked)
        options.check(asked, model)
        tools = read_tools(asked, model)
        messages = [template_message(one, index) for index, one in enumerate(asked.messages)]
        await model.text.open()
        if not model.text.has_template:
            raise Refused(400, f"{model.name} has no chat template: use /v1/completions", field="messages")
        try:
            await check_template(model, messages, tools)
            ids = await model.text.conversation(messages, tools.described if tools else ())
        except InputError as error:
            raise Refused(400, error.message, field="messages") from None
        return await self._answer(request, asked, model, CHAT, [ids], tools)

    async def completions(self, request: Request) -> Response:
        """Continue one or several plain texts."""
        asked = await read_json(request, CompletionRequest)
        model = self._model(asked)
        options.check(asked, model)
        prompts = _prompts(asked.prompt)
        try:
            ids = [await model.text.prompt(one) if isinstance(one, str) else one for one in prompts]
        except InputError as error:
            raise Refused(400, error.message, field="prompt") from None
        return await self._answer(request, asked, model, COMPLETION, ids)

    async def models(self, request: Request) -> Response:
        """Return the models that are served."""
        body = {"object": "list", "data": [self._described(name) for name in self._models]}
        return Response(msgspec.json.encode(body), media_type="application/json")

    async def one_model(self, request: Request) -> Response:
        """Return one model."""
        name = request.path_params["name"]
        if name not in self._models:
            raise self._unknown(name)
        return Response(msgspec.json.encode(self._described(name)), media_type="application/json")

    async def _answer(
        self,
        request: Request,
        asked: ChatRequest | CompletionRequest,
        model: LanguageModel,
        form: Form,
        prompts: Sequence[Sequence[int]],
        tools: Tools | None = None,
    ) -> Response:
        many, room = asked.n or 1, min(MOST_CHOICES, model.admission.most)
        if (choices := len(prompts) * many) > room:
            raise Refused(400, f"the request asks for {choices} choices; at most {room} fit", field="n")
        drawn, stop = options.options(asked, model, raw=form is COMPLETION), options.stops(asked)
        if tools and tools.schema:
            drawn["json_schema"] = tools.schema
        most = options.count(asked) or (16 if form is COMPLETION else None)  # the API's own default
        try:
            wanted = [
                Wanted(ids, model.fitting(ids, most), stop, options.of_choice(drawn, index))
                for ids in prompts
                for index in range(many)
            ]
        except InputError as error:
            raise Refused(400, error.message, field="messages" if form is CHAT else "prompt") from None
        told = asked.stream_options or StreamOptions()
        answer = Answer(
            model, form, wanted, sum(map(len, prompts)), self._metrics, tools,
            usage_at_end=told.include_usage, obfuscated=told.include_obfuscation,
        )  # fmt: skip
        return await (answer.stream(request) if asked.stream else answer.whole(request))

    def _model(self, asked: Generate) -> LanguageModel:
        model = self._models.get(asked.model)
        if model is None:
            raise self._unknown(asked.model)
        if not isinstance(model, LanguageModel):
            raise Refused(
                400,
                f"{asked.model} generates no text: ask for POST /v2/models/{asked.model}/infer",
                field="model",
            )
        return model

    def _unknown(self, name: str) -> Refused:
        return Refused(
            404, f"there is no model {name[:80]!r}; served: {', '.join(self._models)}", field="model"
        )

    def _described(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "edgehone"}


def _prompts(prompt: str | Sequence[str | int | list[int]]) -> list[str | list[int]]:
    """Return the prompts of a request, texts or ids. Raises Refused for none, too many, or a mixture."""
    if isinstance(prompt, str):
        found: list[str | list[int]] = [prompt]
    elif all(isinstance(one, int) for one in prompt):
        found = [[one for one in prompt if isinstance(one, int)]]
    else:
        found = [one for one in prompt if not isinstance(one, int)]
        if len(found) < len(prompt) or len({type(one) for one in found}) > 1:
            raise Refused(400, "prompt is a mixture of texts and ids; give one kind", field="prompt")
    if not found or not all(found):
        raise Refused(400, "prompt is empty", field="prompt")
    if len(found) > _PROMPTS:
        raise Refused(400, f"prompt has {len(found)} texts; give at most {_PROMPTS}", field="prompt")
    return found
