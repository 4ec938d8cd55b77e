"""A request to llama-server's /completion, and its answer as it comes (worker side).

The socket is read when it has something, so that one thread reads the answers of all requests.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.backends.serving import EngineRequest, Produced, TokenLogprobs

# The names of the options in llama-server, where they are others.
_NAMES = {"repetition_penalty": "repeat_penalty"}
# Samplers in the order of transformers, as in `samplers`; llama-server has more, and other defaults.
_DRAWN: Mapping[str, Any] = {
    "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
}
# Without a draw only the likeliest token is kept. llama-server always ends with a draw from what its samplers leave,
# and would compute a softmax over the whole vocabulary for it: at 262,144 ids as long as a tenth of Gemma 3 270M.
_GREEDY: Mapping[str, Any] = {"samplers": ["penalties", "top_k"], "top_k": 1, "temperature": 0.0}
# All answers are received into one place, by one thread. The system would have to clear memory for each new one.
_PLACE = memoryview(bytearray(1 << 18))


@dataclass(frozen=True)
class Dialect:
    """What the answers of a llama-server depend on besides their requests.

    `ids_of` returns ids of a text: llama-server sends no event for a token that ends within a character, and the event
    of the token that completes it has the text of all, but the id of the last. `bytes_of` collects the bytes of tokens
    that log-probabilities are told of. With `adds_space` the tokenizer puts a space before a text, which is not told.
    """

    ids_of: Callable[[str], list[int]]
    bytes_of: dict[int, bytes]
    adds_space: bool


class Answer:
    """A request that was sent, and what came of its answer."""

    def __init__(self, path: Path, request: EngineRequest, dialect: Dialect) -> None:
        """Send the request to the server that listens on the Unix socket `path`. Raises OSError if it does not."""
        self.request, self._dialect = request, dialect
        self._told = 0  # tokens that llama-server counted
        self._begun = False  # whether there was a text
        self.looked: float | None = None  # when a piece of it came
        self._head, self._text = bytearray(), bytearray()
        self._chunks: _Chunks | None = None
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        body = json.dumps(_body(request)).encode()
        lines = [
            "POST /completion HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            f"Content-Length: {len(body)}",
        ]
        self.socket.sendall("\r\n".join([*lines, "\r\n"]).encode() + body)

    def close(self) -> None:
        """Close the connection, which frees the slot."""
        self.socket.close()

    def receive(self) -> Produced | None:
        """Return what came, None if that is no token; the socket must have something to read."""
        try:
            data = bytes(_PLACE[: self.socket.recv_into(_PLACE)])
            if not data:
                return self._cut()
            if self._chunks is None:
                data = self._start(data)
            if self._chunks is None:
                return None
            self._text += self._chunks.add(data)
            return self._produced(self._events())
        except (OSError, ValueError) as error:
            return Produced(self.request.number, [], "error", f"llama-server: {error}")

    def _start(self, data: bytes) -> bytes:
        """Read the status and the headers. Returns what follows them, once the status is known to be 200."""
        self._head += data
        head, found, rest = bytes(self._head).partition(b"\r\n\r\n")
        if found and head.split(b" ", 2)[1] == b"200":
            self._chunks = _Chunks()
            return rest
        if found:
            self.socket.shutdown(socket.SHUT_WR)  # the server then closes after the body
        return b""

    def _cut(self) -> Produced:
        """Return the outcome of a connection that was closed before the answer ended."""
        number, (head, _, body) = self.request.number, bytes(self._head).partition(b"\r\n\r\n")
        if self._chunks is None and head:
            return Produced(number, [], "refused", _message(body))
        return Produced(number, [], "error", "llama-server closed the connection")

    def _events(self) -> list[dict[str, Any]]:
        """Return the complete events, decoded together, which takes less than one after the other."""
        *whole, rest = bytes(self._text).split(b"\n\n")
        self._text = bytearray(rest)
        contents = []
        for line in whole:
            kind, _, content = line.strip().partition(b": ")
            if kind == b"data":
                contents.append(content)
            elif kind == b"error":
                contents.append(b'{"error":%s}' % content)
        return json.loads(b"[%s]" % b",".join(contents)) if contents else []

    def _failed(self, error: Any) -> Produced:
        message = str(error.get("message") if isinstance(error, dict) else error)
        # A schema that nothing satisfies is found out while the text is generated.
        unsatisfiable = "json_schema" in self.request.options and "grammar" in message
        return Produced(self.request.number, [], "refused" if unsatisfiable else "error", message)

    def _produced(self, events: Sequence[Mapping[str, Any]]) -> Produced | None:
        """Return what events tell together, up to the first that ends the text."""
        ids, texts, logprobs = list[int](), list[str](), list[TokenLogprobs]()
        found = Produced(self.request.number, ids, texts=texts, logprobs=logprobs)
        for event in events:
            if "error" in event:
                return self._failed(event["error"])
            new, end = self._ids(event), None
            if not self.request.ends.isdisjoint(new):
                end = next(at for at, token in enumerate(new) if token in self.request.ends)
            ids += new[:end]
            if told := event.get("completion_probabilities"):
                logprobs += self._logprobs(told, self.request.options.get("top_logprobs", 0))[:end]
            if end is not None:
                return found._replace(reason="stop")
            _tell(texts, self._text_of(event), len(ids))
            if event.get("stop"):
                return found._replace(reason="length" if event.get("stop_type") == "limit" else "stop")
            if new and self._told >= self.request.count:  # the event that says so need not be waited for
                return found._replace(reason="length")
        return found if ids else None

    def _ids(self, event: Mapping[str, Any]) -> list[int]:
        ids: list[int] = event.get("tokens") or []
        if len(ids) == 1 and event["tokens_predicted"] > self._told + 1 and "content" in event:
            ids = self._dialect.ids_of(event["content"])
        self._told = event.get("tokens_predicted", self._told)
        return ids

    def _text_of(self, event: Mapping[str, Any]) -> str:
        text = str(event.get("content", ""))
        if not self._begun and self._dialect.adds_space:
            text = text.removeprefix(" ")
        self._begun = True
        return text

    def _logprobs(self, entries: Sequence[Mapping[str, Any]], top: int) -> list[TokenLogprobs]:
        found = []
        for one in entries:
            others = one["top_logprobs"][:top]
            self._dialect.bytes_of.update((each["id"], bytes(each["bytes"])) for each in (one, *others))
            likeliest = [(each["id"], each["logprob"]) for each in others]
            found.append(TokenLogprobs(one["id"], one["logprob"], likeliest))
        return found


def _tell(texts: list[str], text: str, count: int) -> None:
    """Add a text to those of the first `count` ids: it belongs to the last of them, others have an empty one."""
    if len(texts) < count:
        texts += [""] * (count - len(texts) - 1)
        texts.append(text)
    elif text:
        texts[-1:] = ["".join([*texts[-1:], text])]


class _Chunks:
    """The body of an HTTP answer in chunks, each after its size."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, data: bytes) -> bytes:
        """Add bytes of the connection. Returns those of the chunks that are complete. Raises ValueError if broken."""
        data, at, found = self._rest + data, 0, []
        while (end := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:end], 16)
            if len(data) < end + 4 + size:
                break
            found.append(data[end + 2 : end + 2 + size])
            at = end + 4 + size
        self._rest = data[at:]
        return b"".join(found)


def _body(request: EngineRequest) -> dict[str, Any]:
    given = {_NAMES.get(name, name): value for name, value in request.options.items() if value is not None}
    if given.pop("logprobs", False):
        given["n_probs"] = max(1, given.pop("top_logprobs", 0))  # 0 asks for none at all
    return {
        "prompt": list(request.ids),
        "n_predict": request.count,
        "stream": True,
        "return_tokens": True,
        # The penalties count the whole text, as those of transformers do.
        "repeat_last_n": len(request.ids) + request.count,
        **({**_DRAWN, **given} if given.get("temperature") else {"repeat_penalty": 1.0, **given, **_GREEDY}),
    }


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:300]
