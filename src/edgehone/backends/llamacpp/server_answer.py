"""A request to llama-server's /completion, and its answer as it comes (worker side).

The socket is read when it has something, so that one thread reads the answers of all requests.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgehone.backends.serving import EngineRequest, Produced, TokenLogprobs

# The names of the options in llama-server, where they are others.
_NAMES = {"repetition_penalty": "repeat_penalty"}
# Samplers in the order of transformers, as in `samplers`; llama-server has more, and other defaults.
_DRAWING = {
    "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
}
_READ_BYTES = 1 << 18
_decode = json.JSONDecoder().raw_decode  # json.loads would look for spaces around it, and for its encoding


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

    def receive(self) -> list[Produced]:
        """Return what came; the socket must have something to read."""
        number = self.request.number
        try:
            data = self.socket.recv(_READ_BYTES)
            if not data:
                return [self._cut()]
            if self._chunks is None:
                data = self._start(data)
            if self._chunks is None:
                return []
            self._text += self._chunks.add(data)
            return list(self._events())
        except (OSError, ValueError) as error:
            return [Produced(number, [], "error", f"llama-server: {error}")]

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

    def _events(self) -> Iterator[Produced]:
        """Yield what the complete events tell, up to the first that ends the text."""
        *whole, rest = bytes(self._text).split(b"\n\n")
        self._text = bytearray(rest)
        for line in whole:
            kind, _, content = line.strip().partition(b": ")
            if kind in (b"data", b"error"):
                produced = self._produced(kind, _decode(content.decode())[0])
                if produced is not None:
                    yield produced
                    if produced.reason:
                        return

    def _failed(self, error: Any) -> Produced:
        message = str(error.get("message") if isinstance(error, dict) else error)
        # A schema that nothing satisfies is found out while the text is generated.
        unsatisfiable = "json_schema" in self.request.options and "grammar" in message
        return Produced(self.request.number, [], "refused" if unsatisfiable else "error", message)

    def _produced(self, kind: bytes, event: Mapping[str, Any]) -> Produced | None:
        number = self.request.number
        if "error" in event or kind == b"error":
            return self._failed(event.get("error", event))
        ids = list(map(int, event.get("tokens", ())))
        if len(ids) == 1 and event["tokens_predicted"] > self._told + 1 and "content" in event:
            ids = self._dialect.ids_of(event["content"])
        self._told = event.get("tokens_predicted", self._told)
        logprobs: Sequence[TokenLogprobs] = ()
        if found := event.get("completion_probabilities"):
            logprobs = self._logprobs(found, self.request.options.get("top_logprobs", 0))
        if not self.request.ends.isdisjoint(ids):
            ends = next(at for at, token in enumerate(ids) if token in self.request.ends)
            return Produced(number, ids[:ends], "stop", logprobs=logprobs[:ends])
        if event.get("stop"):
            reason: Literal["length", "stop"] = "length" if event.get("stop_type") == "limit" else "stop"
            return Produced(number, ids, reason, logprobs=logprobs, text=self._text_of(event))
        if ids and self._told >= self.request.count:  # the event that says so need not be waited for
            return Produced(number, ids, "length", logprobs=logprobs, text=self._text_of(event))
        return Produced(number, ids, logprobs=logprobs, text=self._text_of(event)) if ids else None

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


class _Chunks:
    """The body of an HTTP answer in chunks, each after its size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def add(self, data: bytes) -> bytes:
        """Add bytes of the connection. Returns those of the chunks that are complete. Raises ValueError if broken."""
        self._buffer += data
        found = []
        while (end := self._buffer.find(b"\r\n")) >= 0:
            size = int(self._buffer[:end], 16)
            if len(self._buffer) < end + 4 + size:
                break
            found.append(bytes(self._buffer[end + 2 : end + 2 + size]))
            del self._buffer[: end + 4 + size]
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
        "cache_prompt": True,
        "temperature": 0.0,
        # The penalties count the whole text, as those of transformers do.
        "repeat_last_n": len(request.ids) + request.count,
        **_DRAWING,
        **given,
    }


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:300]
