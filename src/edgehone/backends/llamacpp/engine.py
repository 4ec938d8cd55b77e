"""llama.cpp's own server as an engine: its slots batch the requests (worker side).

It runs as a child of this process and listens on a Unix socket in the job's folder, which no other program reaches. A
request is a POST to /completion with the ids of the prompt, whose answer is a stream of events.
"""

from __future__ import annotations

import http.client
import json
import os
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.llamacpp.server_answer import Answer
from edgehone.backends.serving import EngineRequest, Option, Produced
from edgehone.core.errors import EdgehoneError

# How long a step waits for events before new requests are accepted.
_WAIT_SECONDS = 0.002
_START_SECONDS = 600.0


class LlamaEngine:
    """A llama-server and the requests to it."""

    options: frozenset[Option] = frozenset({
        "temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty", "frequency_penalty",
        "presence_penalty", "json_schema", "logprobs", "top_logprobs",
    })  # fmt: skip

    def __init__(self, command: list[str], folder: Path, context: int, cache: int) -> None:
        """Start the server by its command line and wait until the model is loaded.

        `folder` is for its socket, `context` the number of tokens of a slot, `cache` of all slots.

        Raises EdgehoneError if it ends before, or takes longer than 600 s.
        """
        self.context, self.cache = context, cache
        self._socket = folder / "llama.sock"
        self._child = subprocess.Popen([*command, "--host", str(self._socket)], stdin=subprocess.DEVNULL)
        self._answers: dict[int, Answer] = {}
        self._selector = selectors.DefaultSelector()
        self._wait_until_loaded()
        threading.Thread(target=self._end_with_server, daemon=True, name="llama-server").start()

    @property
    def processes(self) -> tuple[int, ...]:
        """The ids of the processes that compute."""
        return (self._child.pid,)

    def add(self, request: EngineRequest) -> None:
        """Send a request. What the server refuses is told by `step`."""
        answer = Answer(self._socket, request, self._ids_of)
        self._answers[request.number] = answer
        self._selector.register(answer.socket, selectors.EVENT_READ, answer)

    def cancel(self, number: int) -> None:
        """Close a request's connection, which frees its slot."""
        if answer := self._answers.pop(number, None):
            self._selector.unregister(answer.socket)
            answer.close()

    @property
    def busy(self) -> bool:
        """Whether a request is not finished."""
        return bool(self._answers)

    def step(self) -> list[Produced]:
        """Return what came since the last step, after waiting for it for at most 2 ms."""
        ready = self._selector.select(_WAIT_SECONDS)
        produced = [one for key, _ in ready for one in key.data.receive()]
        for one in produced:
            if one.reason:
                self.cancel(one.number)
        return produced

    def close(self) -> None:
        """End the server."""
        for number in list(self._answers):
            self.cancel(number)
        self._child.kill()

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


def command_line(
    program: Path, model: Path, settings: Mapping[str, Any], threads: int, places: int, context: int
) -> list[str]:
    """Return the command line of a llama-server with the settings that the session of the artifact has.

    `context` is the number of tokens of each of the `places` slots.
    """
    words: list[Any] = [
        program, "--model", model, "--parallel", places, "--ctx-size", context * places, "--offline", "--no-webui",
        # Prefixes stay in the slots. llama-server's further cache would take up to 8 GiB of memory.
        "--cache-ram", 0,
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
