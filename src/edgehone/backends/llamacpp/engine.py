"""llama.cpp's own server as an engine: its slots batch the requests (worker side).

It runs as a child of this process and listens on a Unix socket in the job's folder, which no other program reaches. A
request is a POST to /completion with the ids of the prompt, whose answer is a stream of events.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from edgehone.backends.serving import EngineRequest, Option, Produced, TokenLogprobs
from edgehone.core.errors import EdgehoneError

# Tokens in the KV caches of all slots together.
_MOST_TOKENS = 32_768
_LEAST_TOKENS = 2_048
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
# How long a step waits for events before new requests are accepted.
_WAIT_SECONDS = 0.002
_START_SECONDS = 600.0


class LlamaEngine:
    """A llama-server and the requests to it."""

    options: frozenset[Option] = frozenset({
        "temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty", "frequency_penalty",
        "presence_penalty", "json_schema", "logprobs", "top_logprobs",
    })  # fmt: skip

    def __init__(self, command: list[str], folder: Path, context: int) -> None:
        """Start the server by its command line and wait until the model is loaded.

        `folder` is for its socket, `context` the number of tokens of a slot.

        Raises EdgehoneError if it ends before, or takes longer than 600 s.
        """
        self.context = context
        self._socket = folder / "llama.sock"
        self._child = subprocess.Popen([*command, "--host", str(self._socket)], stdin=subprocess.DEVNULL)
        self._events: queue.SimpleQueue[Produced] = queue.SimpleQueue()
        self._connections: dict[int, http.client.HTTPConnection] = {}
        self._wait_until_loaded()
        threading.Thread(target=self._end_with_server, daemon=True, name="llama-server").start()

    @property
    def processes(self) -> tuple[int, ...]:
        """The ids of the processes that compute."""
        return (self._child.pid,)

    def add(self, request: EngineRequest) -> None:
        """Send a request. What the server refuses is told by `step`."""
        connection = _Connection(self._socket)
        connection.request("POST", "/completion", json.dumps(_body(request)))
        self._connections[request.number] = connection
        threading.Thread(target=self._read, args=(request, connection), daemon=True).start()

    def cancel(self, number: int) -> None:
        """Close a request's connection, which frees its slot."""
        if connection := self._connections.pop(number, None):
            _shut(connection)

    @property
    def busy(self) -> bool:
        """Whether a request is not finished."""
        return bool(self._connections)

    def step(self) -> list[Produced]:
        """Return what came since the last step, after waiting for it for at most 2 ms."""
        found: list[Produced] = []
        try:
            found.append(self._events.get(timeout=_WAIT_SECONDS))
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            pass
        produced = [one for one in found if one.number in self._connections]
        for one in produced:
            if one.reason:
                self.cancel(one.number)
        return produced

    def close(self) -> None:
        """End the server."""
        for number in list(self._connections):
            self.cancel(number)
        self._child.kill()

    def _read(self, request: EngineRequest, connection: http.client.HTTPConnection) -> None:
        """Put what the server sends for a request into the queue."""
        number = request.number
        try:
            answer = connection.getresponse()
            if answer.status != 200:
                self._events.put(Produced(number, [], "refused", _message(answer.read())))
                return
            for produced in _produced(request, answer, self._ids_of):
                self._events.put(produced)
                if produced.reason:
                    return
            self._events.put(Produced(number, [], "error", "llama-server closed the connection"))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._events.put(Produced(number, [], "error", f"llama-server: {error}"))

    def _ids_of(self, text: str) -> list[int]:
        """Return ids whose text is `text`, without what a tokenizer puts before a text."""
        connection = _Connection(self._socket)
        # After a line break no tokenizer adds a space, and none joins it with what follows.
        asked = {"content": f"\n{text}", "add_special": False, "with_pieces": True}
        connection.request("POST", "/tokenize", json.dumps(asked))
        tokens = json.loads(connection.getresponse().read())["tokens"]
        pieces = [
            piece.encode() if isinstance(piece := one["piece"], str) else bytes(piece) for one in tokens
        ]
        for at in range(len(pieces) + 1):
            if b"".join(pieces[at:]) == text.encode():
                return [int(one["id"]) for one in tokens[at:]]
        raise ValueError(f"cannot find the tokens of {text!r}")

    def _wait_until_loaded(self) -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < _START_SECONDS:
            if self._child.poll() is not None:
                raise EdgehoneError(f"llama-server ended with exit code {self._child.returncode}")
            try:
                connection = _Connection(self._socket)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass  # it does not listen yet
            time.sleep(0.02)
        raise EdgehoneError(f"llama-server has not loaded the model after {_START_SECONDS:.0f} s")

    def _end_with_server(self) -> None:
        """End this process when the server ends: its parent then starts both again."""
        code = self._child.wait()
        print(f"error: llama-server ended with exit code {code}", flush=True)  # noqa: T201 - the job's log
        os._exit(1)


def context_of(stated: int | None, places: int) -> int:
    """Return the tokens of a slot: those that the model takes, as far as the memory for all slots allows."""
    most = max(_LEAST_TOKENS, _MOST_TOKENS // places)
    return min(most, stated) if stated else most


def command_line(
    program: Path, model: Path, settings: Mapping[str, Any], threads: int, places: int, context: int
) -> list[str]:
    """Return the command line of a llama-server with the settings that the session of the artifact has.

    `context` is the number of tokens of each of the `places` slots.
    """
    words: list[Any] = [
        program, "--model", model, "--parallel", places, "--ctx-size", context * places, "--offline", "--no-webui",
        "--threads", settings.get("decode_threads", threads), "--threads-batch", threads,
        "--cache-type-k", settings.get("kv_cache", "f16"), "--cache-type-v", settings.get("kv_cache", "f16"),
    ]  # fmt: skip
    for name, option in (("batch", "--batch-size"), ("ubatch", "--ubatch-size")):
        words += [option, settings[name]] if name in settings else []
    if "flash_attention" in settings:
        words += ["--flash-attn", "on" if settings["flash_attention"] else "off"]
    words += {"mlock": ["--mlock"], "read": ["--no-mmap"]}.get(settings.get("load", "mmap"), [])
    return [str(word) for word in words]


class _Connection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def _shut(connection: http.client.HTTPConnection) -> None:
    """Close a connection that another thread may be reading from."""
    if connection.sock is not None:
        try:
            connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the server has closed it


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


def _produced(
    request: EngineRequest, answer: http.client.HTTPResponse, ids_of: Callable[[str], list[int]]
) -> Iterator[Produced]:
    """Yield the tokens of a stream of events, up to the first that ends the text.

    llama-server sends no event for a token that ends within a character. The event of the token that completes it has
    the text of all, but the id of the last: `ids_of` returns ids of the whole text.
    """
    number, told = request.number, 0
    for line in answer:
        if not line.startswith((b"data: ", b"error: ")):
            continue
        event = json.loads(line.partition(b": ")[2])
        if "error" in event or line.startswith(b"error"):
            yield Produced(number, [], "error", str(event.get("error", event)))
            return
        ids = [int(token) for token in event.get("tokens", ())]
        if len(ids) == 1 and event["tokens_predicted"] > told + 1 and "content" in event:
            ids = ids_of(event["content"])
        told = event.get("tokens_predicted", told)
        logprobs = _logprobs(
            event.get("completion_probabilities", ()), request.options.get("top_logprobs", 0)
        )
        ends = next((at for at, token in enumerate(ids) if token in request.ends), None)
        if ends is not None:
            yield Produced(number, ids[:ends], "stop", logprobs=logprobs[:ends])
            return
        if event.get("stop"):
            reason: Literal["length", "stop"] = "length" if event.get("stop_type") == "limit" else "stop"
            yield Produced(number, ids, reason, logprobs=logprobs)
            return
        if ids:
            yield Produced(number, ids, logprobs=logprobs)


def _logprobs(entries: Sequence[Mapping[str, Any]], top: int) -> list[TokenLogprobs]:
    return [
        TokenLogprobs(
            one["id"],
            one["logprob"],
            [(other["id"], other["logprob"]) for other in one["top_logprobs"][:top]],
        )
        for one in entries
    ]


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:300]
