"""The picture of a request: data in the request itself, never an address that the server would have to ask."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgehone.serve.http import Refused
from edgehone.serve.model import LanguageModel
from edgehone.serve.openai.requests import ImagePart, Message

TYPES = ("png", "jpeg", "webp", "gif", "bmp")
_DATA = re.compile(rf"data:image/({'|'.join(TYPES)}|jpg);base64,")


def picture_of(messages: Sequence[Message], model: LanguageModel) -> str | None:
    """Return the picture in the messages as base64, None if there is none.

    Raises Refused by name for a model that takes none, several pictures, one that the user did not send, an address,
    and other data.
    """
    found = [
        (message, part, index)
        for index, message in enumerate(messages)
        if not isinstance(message.content, str)
        for part in message.content or ()
        if isinstance(part, ImagePart)
    ]
    if not found:
        return None
    if model.served.pictures is None:
        raise _refused(f"{model.name} is not a vision-language model: it takes no pictures")
    if len(found) > 1:
        raise _refused(f"the messages have {len(found)} pictures; at most one is taken")
    ((message, part, index),) = found
    if message.role != "user":
        raise _refused(f"messages[{index}]: only the user sends pictures, not {message.role}")
    if part.image_url.detail not in (None, "auto"):
        raise _refused(
            f"detail is {part.image_url.detail[:20]!r}; the model has one resolution: leave it out"
        )
    return _data(part.image_url.url)


def _data(url: str) -> str:
    form = "data:image/png;base64,…"
    if re.match(r"[a-z]+://", url, re.IGNORECASE):
        raise _refused(
            f"{url[:80]} is an address, which this server does not ask: send the picture as {form}"
        )
    match = _DATA.match(url)
    if match is None:
        raise _refused(f"the picture begins with {url[:40]!r}: send {form} ({', '.join(TYPES)})")
    return url[match.end() :]


def _refused(message: str) -> Refused:
    return Refused(400, message, field="messages")
