"""The ids of a conversation with a picture, before and after it (worker side).

A conversation in the model's own chat template is rendered with a placeholder where the picture stands. Without such a
template, one message is put between the ids that the model's processor writes around a picture and its prompt, which
the bundle carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgehone.core.errors import InputError
from edgehone.worker.chat_template import Message
from edgehone.worker.text import Text

PICTURE = {"type": "image"}


def picture_prompt(
    text: Text, template: Mapping[str, Any], messages: Sequence[Message], tools: Sequence[Any] = ()
) -> tuple[list[int], list[int]]:
    """Return the ids before and after the picture.

    The content of a message is a text or a list of {"type": "text", "text": …} and, once in all messages, PICTURE.
    `template` is a bundle's, {"before", "head", "tail", "token"}: the ids around a picture and its prompt, and the
    placeholder; with "expanded" and "mark" if the model's processor writes more for it. Raises InputError for a text
    that has the placeholder, and for a conversation of several messages if the model has no template for it,
    ModelError if the template cannot be rendered.
    """
    token = template.get("token")
    mark, expanded = template.get("mark", token), template.get("expanded", token)
    for placeholder in dict.fromkeys(one for one in (token, mark) if one):
        if any(placeholder in one for one in _texts(messages)):
            raise InputError(f"a text contains {placeholder}, the placeholder of a picture: leave it out")
    if token and text.places_pictures(token):
        return text.around(text.rendered(messages, tools).replace(token, expanded), mark)
    return _in_template(text, template, messages)


def _in_template(
    text: Text, template: Mapping[str, Any], messages: Sequence[Message]
) -> tuple[list[int], list[int]]:
    if len(messages) > 1:
        raise InputError(
            "the model has no chat template that places pictures: give one message, with a picture and a text"
        )
    prompt = text.prompt("".join(_texts(messages)))
    # The ids before the picture already start with a BOS.
    bos = template["before"][:1] if prompt[:1] == template["before"][:1] else []
    return list(template["before"]), [*template["head"], *prompt[len(bos) :], *template["tail"]]


def _texts(messages: Sequence[Message]) -> list[str]:
    found: list[str] = []
    for message in messages:
        content = message["content"]
        parts = [content] if isinstance(content, str) else [one["text"] for one in content if one != PICTURE]
        found += parts
    return found
