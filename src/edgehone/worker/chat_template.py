"""Render a model's chat template (Jinja) as transformers does, in Jinja's sandbox (worker side).

The template comes with the model, so it is untrusted: the sandbox gives it no access to attributes of Python objects
and it cannot change its arguments. The environment of every backend for language models has jinja2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError, SetupError
from edgehone.worker.memory_limit import at_most

Message = Mapping[str, Any]
# The special tokens that tokenizer_config.json names and templates use.
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# Bytes that rendering may take. A template can make a text of any length in a few signs.
_MEMORY = 1 << 30

# A tool, a call of it and its result, which show what a template writes. Some templates ask for ids of 9 characters.
_PROBE_PARAMETERS = {
    "type": "object",
    "properties": {"probe_argument": {"type": "string", "description": "an argument"}},
    "required": ["probe_argument"],
}
_PROBE_TOOL = {
    "type": "function",
    "function": {"name": "probe_name", "description": "a function", "parameters": _PROBE_PARAMETERS},
}
_PROBE_CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "callprobe",
            "type": "function",
            "function": {"name": "probe_name", "arguments": {"probe_argument": "probe_value"}},
        }
    ],
}
_PROBE_TEXT = "probe question"
# What a template writes that does not know lists of parts.
_WRITTEN_LISTS = ("'type': 'text'", '"type": "text"')
_PROBE_RESULT = {"role": "tool", "content": "probe_result", "tool_call_id": "callprobe", "name": "probe_name"}


def read_template(folder: Path) -> str | None:
    """Return the chat template in a tokenizer's folder, or None if there is none.

    It is chat_template.jinja, chat_template.json or the entry of tokenizer_config.json; of several named templates,
    the one named "default". Raises ModelError for an entry of another kind.
    """
    if (path := folder / "chat_template.jinja").is_file():
        return path.read_text("utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        stated = _object(folder / name).get("chat_template")
        if isinstance(stated, list):
            named = {one.get("name"): one.get("template") for one in stated if isinstance(one, dict)}
            stated = named.get("default") or next(iter(named.values()), None)
        if stated is not None and not isinstance(stated, str):
            raise ModelError(f"{folder / name}: chat_template is {str(stated)[:60]!r}, not a text")
        if stated:
            return stated
    return None


def special_tokens(folder: Path) -> dict[str, str]:
    """Return the special tokens in tokenizer_config.json by name (bos_token, eos_token, ...), for the template."""
    config = _object(folder / "tokenizer_config.json")
    found = {name: config.get(name) for name in _SPECIAL}
    texts = {name: one.get("content") if isinstance(one, dict) else one for name, one in found.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def control_tokens(folder: Path, template: str) -> re.Pattern[str] | None:
    """Return an expression that finds the special tokens of a tokenizer that its chat template writes; None for none.

    Special are those that tokenizer.json or tokenizer_config.json calls so. Others may be parts of usual texts.
    """
    added = _object(folder / "tokenizer.json").get("added_tokens") or []
    stated = (_object(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}).values()
    special = {one["content"] for one in (*added, *stated) if one.get("special")}
    named = {text for name, text in special_tokens(folder).items() if name in template}
    found = sorted({one for one in special | named if one and (one in template or one in named)}, key=len)
    return re.compile("|".join(map(re.escape, reversed(found)))) if found else None


def texts_of(messages: Sequence[Message]) -> Iterator[str]:
    """Yield the texts of messages."""
    for message in messages:
        content = message.get("content")
        parts = [{"text": content}] if isinstance(content, str) else content or []
        yield from (one["text"] for one in parts if isinstance(one.get("text"), str))


def takes(template: str, special: Mapping[str, str]) -> dict[str, bool]:
    """Return whether a template writes `tools`, and `calls` of them with their results, into a prompt.

    A template leaves out in silence what it does not know. So a conversation with all of them is rendered.
    """

    def written(messages: Sequence[Message], *texts: str) -> bool:
        try:
            rendered = render(template, shaped(template, messages, special), special, [_PROBE_TOOL])
        except ModelError:
            return False
        return all(text in rendered for text in texts)

    question = {"role": "user", "content": _PROBE_TEXT}
    return {
        "tools": written([question], "probe_name", "probe_argument"),
        "calls": written([question, _PROBE_CALL, _PROBE_RESULT], "probe_value", "probe_result"),
    }


def shaped(template: str, messages: Sequence[Message], special: Mapping[str, str]) -> Sequence[Message]:
    """Return messages with their contents in the form that a template takes.

    Templates of vision-language models may take only lists of parts, {"type": "text", "text": …}, and leave out in
    silence a content that is a text.
    """

    return list(map(_in_parts, messages)) if wants_parts(template, special) else messages


def wants_parts(template: str, special: Mapping[str, str]) -> bool:
    """Return whether a template leaves out a content that is a text, and writes one that is a list of parts."""

    def written(*, parts: bool) -> bool:
        text = _probe(template, tuple(special.items()), parts=parts)
        return text is not None and _PROBE_TEXT in text

    return not written(parts=False) and written(parts=True)


def places_pictures(template: str, special: Mapping[str, str], token: str) -> bool:
    """Return whether a template writes `token` once for a picture, and the text beside it."""
    text = _probe(template, tuple(special.items()), parts=True, picture=True)
    return text is not None and text.count(token) == 1 and _PROBE_TEXT in text


def _in_parts(message: Message) -> Message:
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return {**message, "content": parts}


@lru_cache(maxsize=8)
def _probe(
    template: str, special: tuple[tuple[str, str], ...], *, parts: bool, picture: bool = False
) -> str | None:
    """Return a message in a template; None if it cannot be rendered, or is written as the list that it is."""
    content = [*([{"type": "image"}] if picture else []), {"type": "text", "text": _PROBE_TEXT}]
    try:
        text = render(
            template, [{"role": "user", "content": content if parts else _PROBE_TEXT}], dict(special)
        )
    except ModelError:
        return None
    return None if parts and any(repr in text for repr in _WRITTEN_LISTS) else text


def render(
    template: str, messages: Sequence[Message], special: Mapping[str, str], tools: Sequence[Any] = ()
) -> str:
    """Return the text of a conversation that ends where the model's answer begins.

    `messages` have a role and a content, and may have tool_calls whose arguments are objects; `special` is from
    `special_tokens`; `tools` have the form of the OpenAI API. Raises ModelError with the template's or Jinja's message
    if it cannot be rendered, SetupError if jinja2 is missing.
    """
    try:
        compiled = _compiled(template)
        given: dict[str, Any] = {"messages": list(messages), "add_generation_prompt": True}
        given |= {"tools": list(tools)} if tools else {}
        with at_most(_MEMORY):
            return str(compiled.render(**given, **special))
    except ModuleNotFoundError as error:
        raise SetupError(
            "the chat template needs jinja2, which this environment lacks", hint="pip install jinja2"
        ) from error
    # A template may fail in any way that an expression of Python can.
    except Exception as error:
        raise ModelError(
            f"the model's chat template cannot be rendered: {error or type(error).__name__}",
            hint="leave it out: edgehone run BUNDLE --raw --prompt TEXT",
        ) from error


@lru_cache(maxsize=4)
def _compiled(template: str) -> Any:
    return environment().from_string(template)


def environment() -> Any:
    """Return Jinja's sandbox with the settings and functions that transformers gives to templates."""
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} ... {% endgeneration %} marks the assistant's text for training; here it is only printed."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON without the escapes for HTML that Jinja's own filter adds."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _object(path: Path) -> dict[str, Any]:
    data = json.loads(path.read_text("utf-8-sig")) if path.is_file() else {}
    return data if isinstance(data, dict) else {}
