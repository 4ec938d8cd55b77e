"""The bodies of requests. Unknown fields are refused, so that nothing a client asks for is ignored in silence."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

# The most choices of all prompts of a request together.
MOST_CHOICES = 128


class TextPart(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """A part of a message's content."""

    text: str


class ImageUrl(msgspec.Struct, forbid_unknown_fields=True):
    """A picture as a data: URL. `detail` may be auto."""

    url: str
    detail: str | None = None


class ImagePart(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="image_url"):
    """A picture in a message's content."""

    image_url: ImageUrl


Name = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]+$", max_length=64)]


class Function(msgspec.Struct, forbid_unknown_fields=True):
    """A function that a model may ask its client to call. `parameters` is a JSON schema."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, forbid_unknown_fields=True):
    """A tool; only functions are known."""

    type: Literal["function"]
    function: Function


class NamedFunction(msgspec.Struct, forbid_unknown_fields=True):
    """The function that must be called."""

    name: Name


class NamedTool(msgspec.Struct, forbid_unknown_fields=True):
    """The tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class CalledFunction(msgspec.Struct, forbid_unknown_fields=True):
    """A call: the function and its arguments, an object as JSON text."""

    name: Name
    arguments: str


class ToolCall(msgspec.Struct, forbid_unknown_fields=True):
    """A call that the assistant made before."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart | ImagePart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    # What answers have, and clients send back.
    refusal: None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """What a stream contains besides the answer."""

    include_usage: bool = False
    include_obfuscation: bool = False


Temperature = Annotated[float, Meta(ge=0, le=100)]
TopP = Annotated[float, Meta(ge=1e-6, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Tokens = Annotated[int, Meta(ge=1, le=2**31)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]


class Generate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What all requests for text have in common. Numbers have the ranges of the OpenAI API, or of the samplers."""

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=1e-3, le=100)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stop: str | Annotated[list[str], Meta(max_length=16)] | None = None
    n: Annotated[int, Meta(ge=1, le=MOST_CHOICES)] | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None  # who asks; not used


class ChatRequest(Generate, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    response_format: dict[str, Any] | None = None
    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None  # labels of the client; not used
    store: bool | None = None
    modalities: list[str] | None = None


class CompletionRequest(Generate, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /v1/completions."""

    prompt: str | list[str | int | list[int]]
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None
