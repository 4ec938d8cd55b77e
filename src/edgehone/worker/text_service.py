"""Turn messages and prompts into ids, in a process of its own, for `edgehone serve` (worker side).

A prompt or a template may take long. In this process neither keeps the server nor the engine from answering others, and
the server can end it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.execution.time_slice import shorten_slice
from edgehone.worker.chat_template import texts_of
from edgehone.worker.lines import Lines
from edgehone.worker.picture_file import decode
from edgehone.worker.picture_prompt import picture_prompt
from edgehone.worker.text import RuntimeTokenizer, Text


def serve(job: WorkerJob) -> dict[str, Any]:
    """Answer until the parent closes the channel.

    args: backend, settings, pictures (a bundle's, see `picture_prompt`, or None), context (tokens that fit, or None),
    and channel, the file descriptor of a socket. inputs: artifact, optionally tokenizer (the folder in a bundle);
    without a tokenizer.json in it, the artifact is opened for the runtime's own tokenizer.

    The first message sent is {"ready": true, "template": whether there is one, "tokenizer": whose}. Messages received:
    {"id", "messages", "tools"} or {"id", "prompt"}, answered by {"id", "ids"} or {"id", "error"}, with "picture" (a
    file in base64, which is checked) also by "at", the number of ids before it, and with "control": true if a text of
    the messages has a control token of the template; {"id", "text": ids}, answered by {"id", "text"}; {"id", "takes"},
    answered by {"id", "tools", "calls"}, see `takes` in `chat_template`. Returns {}.
    """
    lines = Lines(job.args["channel"])
    session = RuntimeTokenizer(job)
    text = Text(job, session)
    if text.source == "runtime":
        session.open()  # now, so that a server which says it is ready can tokenize
    shorten_slice()
    lines.send({"ready": True, "template": text.has_template, "tokenizer": text.source})
    while (messages := lines.take(wait=True)) is not None:
        for message in messages:
            lines.send({"id": message["id"], **_answer(text, message, job.args)})
    return {}


def _answer(text: Text, message: dict[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    try:
        if "messages" in message:
            text.check_length(texts_of(message["messages"]), args.get("context"))
            return _conversation(text, message, args.get("pictures"))
        if "text" in message:
            return {"text": text.decode(message["text"])}
        if "prompt" not in message:
            return dict(text.takes())
        text.check_length([message["prompt"]], args.get("context"))
        return {"ids": text.prompt(message["prompt"])}
    except EdgehoneError as error:
        return {"error": error.message}
    except Exception as error:  # noqa: BLE001 - a template or a tokenizer may raise any type
        return {"error": f"{type(error).__name__}: {error}"}


def _conversation(text: Text, message: dict[str, Any], pictures: Mapping[str, Any] | None) -> dict[str, Any]:
    messages, tools = message["messages"], message["tools"]
    control = {"control": True} if text.has_control(messages) else {}
    if "picture" not in message:
        return {"ids": text.conversation(messages, tools), **control}
    assert pictures is not None
    decode(message["picture"])  # here, so that one that takes too long or ends the process harms no engine
    before, after = picture_prompt(text, pictures, messages, tools)
    return {"ids": [*before, *after], "at": len(before), **control}
