"""Functions that build HTML. All text that is not `Html` is escaped, so a user's name cannot become a tag."""

from __future__ import annotations

import json
from html import escape
from typing import Any

_VOID = {"br", "input", "wbr"}


class Html(str):
    """Text that is already HTML."""

    __slots__ = ()


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """Return an element.

    `class_` and `for_` are the attributes class and for, and `_` in a name becomes `-`. Attributes and children that
    are None or False are left out; True makes an attribute without a value. Text is escaped, lists of children are
    flattened.
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{escape(str(value))}"')
    opened = f"<{' '.join(words)}>"
    return Html(opened if name in _VOID else f"{opened}{join(*children)}</{name}>")


def join(*children: Any) -> Html:
    """Return the children one after another, with text escaped."""
    parts = []
    for child in children:
        if child is None or child is False:
            continue
        if isinstance(child, Html):
            parts.append(str(child))
        elif isinstance(child, str):
            parts.append(escape(child))
        elif isinstance(child, int | float):
            parts.append(str(child))
        else:
            parts.append(str(join(*child)))
    return Html("".join(parts))


def data(value: Any) -> Html:
    """Return JSON for a script element, escaped so that it cannot end the element or open a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Html(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
