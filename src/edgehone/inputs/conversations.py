"""Conversations that a chat model is evaluated on: JSON lines, {"messages": [{"role": "user", "content": "…"}, …]}.

Each ends with a message of the user, which the original answers, or with an assistant's message, which is then taken as
the answer. 200 short ones ship with edgehone (`src/edgehone/data/texts/PROVENANCE.md`).
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from edgehone.core.errors import TextError

Messages = list[dict[str, str]]

# An interval over fewer conversations means nothing; one in five is used for calibration.
MIN_CONVERSATIONS = 10
_ROLES = ("system", "user", "assistant")
_HINT = '{"messages": [{"role": "user", "content": "…"}]}, one a line; --chat alone takes the shipped ones'


def shipped() -> Path:
    """Return the path of the shipped conversations. Raises TextError if the installation lacks them."""
    path = Path(str(resources.files("edgehone").joinpath("data", "texts", "conversations.jsonl")))
    if not path.is_file():
        raise TextError(f"the shipped conversations are not at {path}", hint="reinstall edgehone")
    return path


def read(path: Path) -> list[Messages]:
    """Return the conversations of a file. Raises TextError with the line of one that cannot be used."""
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except OSError as error:
        raise TextError(f"the conversations {path} cannot be read: {error.strerror}", hint=_HINT) from error
    except UnicodeDecodeError as error:
        raise TextError(
            f"the conversations {path} are not UTF-8: byte {error.start}",
            hint=f"convert them: iconv -t UTF-8 {path}",
        ) from error
    found = [_conversation(line, f"{path}, line {at}") for at, line in enumerate(lines, 1) if line.strip()]
    if len(found) < MIN_CONVERSATIONS:
        raise TextError(
            f"{path} has {len(found)} conversations: at least {MIN_CONVERSATIONS} are needed", hint=_HINT
        )
    return found


def _conversation(line: str, where: str) -> Messages:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TextError(f"{where} is not JSON: {error}", hint=_HINT) from error
    messages = data.get("messages") if isinstance(data, dict) else None
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        raise TextError(f"{where} has no list of messages with a role and a text", hint=_HINT)
    roles = [one["role"] for one in messages]
    if unknown := [role for role in roles if role not in _ROLES]:
        raise TextError(f"{where} has the role {unknown[0]!r}; known are {', '.join(_ROLES)}", hint=_HINT)
    if "user" not in roles or roles[-1] == "system":
        raise TextError(f"{where} does not end with a message of the user or the assistant", hint=_HINT)
    return [{"role": one["role"], "content": one["content"]} for one in messages]


def _is_message(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("role"), str) and isinstance(one.get("content"), str)
