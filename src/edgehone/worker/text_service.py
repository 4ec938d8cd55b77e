"""Turn messages and prompts into ids, and ids into text, in a process of its own, for `edgehone serve` (worker side).

A prompt or a template may take long. In this process neither keeps the server nor the engine from answering others, and
the server can end it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.worker.backend import load_backend
from edgehone.worker.lines import Lines
from edgehone.worker.picture_file import decode
from edgehone.worker.picture_prompt import picture_prompt
from edgehone.worker.text import Text
from edgehone.worker.text_stream import TextStream


def serve(job: WorkerJob) -> dict[str, Any]:
    """Answer until the parent closes the channel.

    args: backend, settings, pictures (a bundle's, see `picture_prompt`, or None), and channel, the file descriptor of a
    socket. inputs: artifact, optionally tokenizer (the folder in a bundle); without a tokenizer.json in it, the
    artifact is opened for the runtime's own tokenizer.

    The first message sent is {"ready": true, "template": whether there is one, "tokenizer": whose}. Messages received:
    {"id", "messages", "tools"} or {"id", "prompt"}, answered by {"id", "ids"} or {"id", "error"}, with "picture" (a
    file in base64, which is checked) also by "at", the number of ids before it; {"id", "takes"},
    answered by {"id", "tools", "calls"}, see `takes` in `chat_template`; {"open": stream, "stop":
    texts}, not answered; {"id", "add": stream, "ids", "logprobs", "last"}, answered by {"id", "text", "stopped",
    "logprobs"}; {"close": stream}. Returns {}.
    """
    lines = Lines(job.args["channel"])
    session = _Tokenizer(job)
    text = Text(job, session)
    if text.source == "runtime":
        session.open()  # now, so that a server which says it is ready can tokenize
    streams: dict[int, TextStream] = {}
    lines.send({"ready": True, "template": text.has_template, "tokenizer": text.source})
    while (messages := lines.take(wait=True)) is not None:
        for message in messages:
            if "open" in message:
                streams[message["open"]] = TextStream(text.stream(), message["stop"], text.token_bytes)
            elif "close" in message:
                streams.pop(message["close"], None)
            else:
                lines.send({"id": message["id"], **_answer(text, streams, message, job.args.get("pictures"))})
    return {}


class _Tokenizer:
    """The session whose tokenizer is used if the bundle has no tokenizer.json; it is opened for these only."""

    def __init__(self, job: WorkerJob) -> None:
        self._job = job
        self._session: Any = None

    def open(self) -> None:
        """Open the artifact."""
        backend, job = load_backend(self._job), self._job
        self._session = backend.open_session(job.inputs["artifact"], job.args["settings"], job)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def _answer(
    text: Text,
    streams: dict[int, TextStream],
    message: dict[str, Any],
    pictures: Mapping[str, Any] | None,
) -> dict[str, Any]:
    try:
        if "messages" in message:
            return _conversation(text, message, pictures)
        if "prompt" in message:
            return {"ids": text.prompt(message["prompt"])}
        return text.takes() if "takes" in message else _added(streams, message)
    except EdgehoneError as error:
        return {"error": error.message}
    except Exception as error:  # noqa: BLE001 - a template or a tokenizer may raise any type
        return {"error": f"{type(error).__name__}: {error}"}


def _conversation(text: Text, message: dict[str, Any], pictures: Mapping[str, Any] | None) -> dict[str, Any]:
    messages, tools = message["messages"], message["tools"]
    if "picture" not in message:
        return {"ids": text.conversation(messages, tools)}
    assert pictures is not None
    decode(message["picture"])  # here, so that one that takes too long or ends the process harms no engine
    before, after = picture_prompt(text, pictures, messages, tools)
    return {"ids": [*before, *after], "at": len(before)}


def _added(streams: dict[int, TextStream], message: dict[str, Any]) -> dict[str, Any]:
    stream = streams.get(message["add"])
    if stream is None:
        return {"error": "the stream was closed"}
    more, stopped = stream.add(message["ids"], last=message["last"])
    return {"text": more, "stopped": stopped, "logprobs": stream.logprobs(message["logprobs"], more)}
