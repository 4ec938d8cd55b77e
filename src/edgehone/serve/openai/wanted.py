"""From a request to what the engine is asked for: the ids of its prompt, and a request for each choice."""

from __future__ import annotations

from collections.abc import Sequence

from edgehone.core.errors import InputError
from edgehone.serve.http import Refused, Violation
from edgehone.serve.model import LanguageModel, Prompt, Wanted
from edgehone.serve.openai import options
from edgehone.serve.openai.pictures import picture_of
from edgehone.serve.openai.requests import MOST_CHOICES, ChatRequest, CompletionRequest
from edgehone.serve.openai.schemas import schema_option
from edgehone.serve.openai.tools import Tools, check_template, read_tools, template_message

# The number of new tokens if a completion states none, the API's own default.
_COMPLETION_TOKENS = 16


async def conversation(asked: ChatRequest, model: LanguageModel) -> tuple[Prompt, Tools | None]:
    """Return a conversation in the model's chat template, and the tools that its answer may call.

    Raises Refused for what the model, its engine or its template cannot do.
    """
    options.check(asked, model)
    tools = read_tools(asked, model)
    messages = [template_message(one, index) for index, one in enumerate(asked.messages)]
    picture = picture_of(asked.messages, model)
    alone = picture is not None and len(messages) == 1 and tools is None
    if not alone and not await model.prompts.has_template():
        raise Refused(400, f"{model.name} has no chat template: use /v1/completions", field="messages")
    try:
        await check_template(model, messages, tools)
        return await model.prompt_of(messages, tools.described if tools else (), picture), tools
    except InputError as error:
        raise Violation(error.message) from None


def wanted(
    asked: ChatRequest | CompletionRequest,
    model: LanguageModel,
    prompts: Sequence[Prompt],
    tools: Tools | None = None,
) -> list[Wanted]:
    """Return what each choice of each prompt asks of the engine. Raises Refused if there is no room for them."""
    raw = isinstance(asked, CompletionRequest)
    many, room = asked.n or 1, min(MOST_CHOICES, model.admission.most)
    if (choices := len(prompts) * many) > room:
        raise Refused(400, f"the request asks for {choices} choices; at most {room} fit", field="n")
    drawn, stop = options.options(asked, model, raw=raw), options.stops(asked)
    if tools and tools.schema and (option := schema_option(model)):
        drawn[option] = tools.schema
    most = options.count(asked) or (_COMPLETION_TOKENS if raw else None)
    try:
        found = [
            Wanted(prompt, model.fitting(prompt.tokens, most), stop, options.of_choice(drawn, index))
            for prompt in prompts
            for index in range(many)
        ]
    except InputError as error:
        raise Refused(400, error.message, field="prompt" if raw else "messages") from None
    tokens, most_tokens = sum(one.tokens for one in found), model.admission.most_tokens
    if most_tokens is not None and tokens > most_tokens:
        raise Refused(
            400, f"the choices may have {tokens} tokens in all; at most {most_tokens} fit", field="max_tokens"
        )
    return found
