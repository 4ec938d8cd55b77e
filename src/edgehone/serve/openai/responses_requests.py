"""The body of POST /v1/responses, and the same request as one for a chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgehone.serve.http import Refused
from edgehone.serve.openai.requests import (
    CalledFunction,
    ChatRequest,
    Function,
    ImagePart,
    ImageUrl,
    Message,
    Name,
    NamedFunction,
    NamedTool,
    Temperature,
    TextPart,
    Tokens,
    Tool,
    ToolCall,
    TopLogprobs,
    TopP,
)


class InputText(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="input_text"):
    """A part of what the user, or a function, says."""

    text: str


class InputImage(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="input_image"):
    """A picture as a data: URL. `detail` may be auto."""

    image_url: str
    detail: str | None = None


class OutputText(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="output_text"):
    """A part of what the assistant said before."""

    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class Item(msgspec.Struct, forbid_unknown_fields=True):
    """A message (role, content), a call of a function (call_id, name, arguments), or its result (call_id, output)."""

    type: Literal["message", "function_call", "function_call_output"] = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[InputText | OutputText | InputImage] | None = None
    call_id: str | None = None
    name: Name | None = None
    arguments: str | None = None
    output: str | list[InputText] | None = None
    id: str | None = None
    status: str | None = None


class FunctionTool(msgspec.Struct, forbid_unknown_fields=True):
    """A function that the model may ask its client to call."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunctionTool(msgspec.Struct, forbid_unknown_fields=True):
    """The function that must be called."""

    type: Literal["function"]
    name: Name


class TextFormat(msgspec.Struct, forbid_unknown_fields=True):
    """What the text must be; `name` and `schema` belong to json_schema."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct, forbid_unknown_fields=True):
    """What the text must be."""

    format: TextFormat | None = None


class ResponseStreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """What a stream contains besides the answer."""

    include_obfuscation: bool = False


class ResponsesRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /v1/responses. Responses are not stored."""

    model: str
    input: str | Annotated[list[Item], Meta(min_length=1)]
    instructions: str | None = None
    stream: bool = False
    stream_options: ResponseStreamOptions | None = None
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_logprobs: TopLogprobs | None = None
    include: list[Literal["message.output_text.logprobs"]] | None = None
    text: TextOptions | None = None
    tools: Annotated[list[FunctionTool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedFunctionTool | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["disabled"] | None = None
    background: Literal[False] | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    service_tier: Literal["auto", "default"] | None = None
    # Labels of the client; not used.
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


def as_chat(asked: ResponsesRequest) -> ChatRequest:
    """Return the request for a chat that asks for the same. Raises Refused for what needs stored responses."""
    for name in ("store", "previous_response_id"):
        if getattr(asked, name):
            raise Refused(
                400,
                f"{name} is not supported: this server stores no responses, send the whole input",
                field=name,
            )
    choice = asked.tool_choice
    if isinstance(choice, NamedFunctionTool):
        named: Any = NamedTool("function", NamedFunction(choice.name))
    else:
        named = choice
    return ChatRequest(
        model=asked.model,
        stream=asked.stream,
        max_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        messages=_messages(asked),
        logprobs=bool(asked.include),
        top_logprobs=asked.top_logprobs,
        response_format=_format(asked.text.format if asked.text else None),
        tools=[
            Tool("function", Function(one.name, one.description, one.parameters, one.strict))
            for one in asked.tools or ()
        ],
        tool_choice=named,
        parallel_tool_calls=asked.parallel_tool_calls,
    )


def _format(given: TextFormat | None) -> dict[str, Any] | None:
    if given is None:
        return None
    return {"type": given.type, "json_schema": {"name": given.name, "schema": given.schema}}


def _messages(asked: ResponsesRequest) -> list[Message]:
    found = [Message("system", asked.instructions)] if asked.instructions else []
    items: Sequence[Item] = (
        [Item(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input
    )
    for index, item in enumerate(items):
        needed = _NEEDED[item.type]
        for name in needed:
            if getattr(item, name) is None:
                raise Refused(400, f"input[{index}]: a {item.type} needs {name}", field="input")
        for name in _OWN - set(needed):
            if getattr(item, name) is not None:
                raise Refused(400, f"input[{index}]: a {item.type} has no {name}", field="input")
        if item.type == "message":
            assert item.role is not None
            found.append(Message(item.role, _content(item.content)))
        elif item.type == "function_call_output":
            found.append(Message("tool", _text(item.output), tool_call_id=item.call_id))
        else:
            assert item.call_id is not None and item.name is not None and item.arguments is not None
            call = ToolCall(item.call_id, CalledFunction(item.name, item.arguments))
            if not found or found[-1].role != "assistant":
                found.append(Message("assistant", ""))
            found[-1].tool_calls = [*(found[-1].tool_calls or ()), call]
    return found


# What an item of each type must have.
_NEEDED: Mapping[str, Sequence[str]] = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
}
_OWN = {name for names in _NEEDED.values() for name in names}


def _content(
    content: str | Sequence[InputText | OutputText | InputImage] | None,
) -> str | list[TextPart | ImagePart]:
    """Return the text of a message, or its parts if one is a picture."""
    if isinstance(content, str) or not any(isinstance(part, InputImage) for part in content or ()):
        return _text(content)
    return [
        ImagePart(ImageUrl(part.image_url, part.detail))
        if isinstance(part, InputImage)
        else TextPart(part.text)
        for part in content or ()
    ]


def _text(content: str | Sequence[InputText | OutputText | InputImage] | None) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content or () if not isinstance(part, InputImage))
