"""The tools of a request: checked, as a JSON schema that holds an answer to a call, and as a template takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edgehone.serve.http import Refused
from edgehone.serve.model import LanguageModel
from edgehone.serve.openai.requests import ChatRequest, Message, NamedTool, TextPart, Tool
from edgehone.serve.openai.schemas import check_held, check_schema, held
from edgehone.serve.openai.tool_calls import CallFinder


@dataclass(frozen=True)
class Tools:
    """The tools that an answer may call.

    `schema` is None if the model may also answer with text, else what a call must satisfy, as the engine takes it.
    `named`: the client has chosen the tool. `single`: only one call is wanted.
    """

    described: Sequence[Mapping[str, Any]]
    schema: Mapping[str, Any] | None
    named: bool
    single: bool

    def finder(self) -> CallFinder:
        """Return what finds the calls in an answer."""
        names = [tool["function"]["name"] for tool in self.described]
        return CallFinder(names, single=self.single or self.schema is not None)


def read_tools(asked: ChatRequest, model: LanguageModel) -> Tools | None:
    """Return the tools of a request; None if none may be called. Raises Refused by name for what cannot be done."""
    choice, tools = asked.tool_choice or "auto", asked.tools or []
    if not tools:
        if choice not in ("none", "auto"):
            raise Refused(400, "tool_choice asks for a call, and there are no tools", field="tool_choice")
        return None
    for tool in tools:
        check_schema(tool.function.parameters or {}, "tools")
    names = [tool.function.name for tool in tools]
    if len(set(names)) < len(names):
        raise Refused(400, "two tools have the same name", field="tools")
    if choice == "none":
        return None
    if asked.response_format and asked.response_format.get("type") != "text":
        raise Refused(
            400, "response_format and tools exclude each other: leave one out", field="response_format"
        )
    described = [msgspec.to_builtins(_without_none(tool)) for tool in tools]
    single = asked.parallel_tool_calls is False
    if choice == "auto":
        return Tools(described, None, named=False, single=single)
    check_held(model, "tool_choice", "it may be auto or none")
    if isinstance(choice, NamedTool):
        tools = [tool for tool in tools if tool.function.name == choice.function.name]
        if not tools:
            raise Refused(400, f"there is no tool {choice.function.name!r}", field="tool_choice")
    return Tools(described, _schema(tools, model), named=isinstance(choice, NamedTool), single=single)


def _without_none(tool: Tool) -> dict[str, Any]:
    function = {
        name: value for name, value in msgspec.structs.asdict(tool.function).items() if value is not None
    }
    return {"type": tool.type, "function": function}


def _schema(tools: Sequence[Tool], model: LanguageModel) -> Mapping[str, Any]:
    """Return the schema of an object that calls one of the tools, as the engine of a model takes it."""
    calls = {str(index): _call(tool, index, model) for index, tool in enumerate(tools)}
    whole = {"anyOf": [{"$ref": f"#/$defs/{index}"} for index in calls], "$defs": calls}
    return held(whole, model, "tools", " of all tools")


def _call(tool: Tool, index: int, model: LanguageModel) -> dict[str, Any]:
    given = tool.function.parameters or {"type": "object"}
    parameters = held(given, model, "tools", f" of {tool.function.name}")
    moved = _moved(parameters, f"#/$defs/{index}/properties/arguments")
    return {
        "type": "object",
        "properties": {"name": {"const": tool.function.name}, "arguments": moved},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, place: str) -> Any:
    """Return a schema whose references hold at another place of a larger one."""
    if isinstance(schema, list):
        return [_moved(one, place) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: place + value.removeprefix("#")
        if name == "$ref" and isinstance(value, str) and value.startswith("#")
        else _moved(value, place)
        for name, value in schema.items()
    }


def template_message(message: Message, index: int) -> dict[str, Any]:
    """Return a message as chat templates take it. Raises Refused for one that is not whole."""
    role = "system" if message.role == "developer" else message.role
    found: dict[str, Any] = {"role": role, "content": _content(message)}
    if message.name:
        found["name"] = message.name
    if (role == "tool") is not (message.tool_call_id is not None):
        raise Refused(
            400,
            f"messages[{index}]: a message of role tool has a tool_call_id, others have none",
            field="messages",
        )
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        if role != "assistant":
            raise Refused(400, f"messages[{index}]: only the assistant makes tool_calls", field="messages")
        found["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": _arguments(call.function.arguments, index),
                },
            }
            for call in message.tool_calls
        ]
    return found


def _content(message: Message) -> str | list[dict[str, str]]:
    """Return the text of a message, or its parts if one is a picture."""
    content = message.content
    if isinstance(content, str):
        return content
    parts = content or ()
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if len(texts) == len(parts):
        return "".join(texts)
    return [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "image"}
        for part in parts
    ]


def _arguments(text: str, index: int) -> dict[str, Any]:
    """Return the arguments of a call: templates take the object, the API has it as text."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(400, f"messages[{index}]: the arguments of a call are no JSON object", field="messages")
    return found


async def check_template(
    model: LanguageModel, messages: Sequence[Mapping[str, Any]], tools: Tools | None
) -> None:
    """Raise Refused if the chat template leaves tools, calls or their results out of the prompt."""
    results = any(message["role"] == "tool" for message in messages)
    calls = any("tool_calls" in message for message in messages)
    if not (results or calls or tools):
        return
    takes = await model.prompts.takes()
    if tools and not takes["tools"]:
        raise Refused(400, f"the chat template of {model.name} takes no tools", field="tools")
    if (results or calls) and not takes["calls"]:
        raise Refused(
            400, f"the chat template of {model.name} takes no tool_calls and their results", field="messages"
        )
