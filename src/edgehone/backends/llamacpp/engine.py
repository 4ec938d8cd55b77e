"""llama.cpp's own server as an engine: its slots batch the requests (worker side).

It runs as a child of this process and listens on a Unix socket in the job's folder, which no other program reaches. A
request is a POST to /completion with the ids of the prompt, whose answer is a stream of events.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.capabilities import LAYERS
from edgehone.backends.llamacpp.adapter import ADAPTER
from edgehone.backends.llamacpp.offload import CPU
from edgehone.backends.llamacpp.server_answer import Answer, Dialect
from edgehone.backends.llamacpp.speculation import DRAFT
from edgehone.backends.serving import EngineRequest, Option, Produced
from edgehone.backends.shared.prompt_lookup import LENGTHS
from edgehone.core.errors import EdgehoneError

# For about so many seconds after a piece of an answer its connection is not looked at, so that a model that gives a
# token in less than a millisecond does not wake this process for each. The end of the connection is noticed meanwhile.
_PAUSE_SECONDS = 0.03
# All answers together have at most so many looks a second, each of which costs the processors of the model some 0.1 ms,
# and an answer is looked at after so many seconds at the latest: text that comes 15 times a second still flows.
_LOOKS_A_SECOND, _LONGEST_PAUSE = 300, 0.065
# At most so many tokens of an answer wait in its connection. Linux takes some 90 events of llama-server, each in three
# writes of its own; then its end would not be noticed before the next look.
_MOST_WAITING = 40
# The share of the newest look in the mean rate of answers.
_NEWEST = 0.2
# What is due within so many seconds is looked at together.
_TOGETHER_SECONDS = 0.003
# llama-server closes its side of a connection after an answer, and the other one later. Systems that do not tell this
# (macOS) notice the end after the pause.
_END = getattr(select, "POLLRDHUP", 0)
_START_SECONDS = 600.0
# A server that loads is asked again after a share of the time that it has taken until then: a small model is ready
# after some 0.02 s, and each question takes a part of a processor that loads.
_WAIT_SHARE, _SHORTEST_WAIT, _LONGEST_WAIT = 0.1, 0.001, 0.02
# The options for the setting `load`, as the session loads the model.
_LOADS = {"mlock": ["--load-mode", "mmap+mlock"], "read": ["--load-mode", "none"]}


class LlamaEngine:
    """A llama-server and the requests to it."""

    options: frozenset[Option] = frozenset({
        "temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty", "frequency_penalty",
        "presence_penalty", "json_schema", "logprobs", "top_logprobs",
    })  # fmt: skip

    def __init__(self, command: list[str], folder: Path, context: int, cache: int, channel: int) -> None:
        """Start the server by its command line and wait until the model is loaded.

        `folder` is for its socket, `context` the number of tokens of a slot, `cache` of all slots. A step ends when
        there is something to read from the file descriptor `channel`.

        Raises EdgehoneError if it ends before, or takes longer than 600 s.
        """
        self.context, self.cache = context, cache
        self._socket = folder / "llama.sock"
        self._child = subprocess.Popen([*command, "--host", str(self._socket)], stdin=subprocess.DEVNULL)
        self._answers: dict[int, Answer] = {}
        self._by_descriptor: dict[int, Answer] = {}
        self._paused: dict[int, float] = {}  # the descriptors that are not looked at, and until when
        self._rate = 0.0  # tokens a second of an answer, of the last ones
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._bytes: dict[int, bytes] = {}  # of tokens that log-probabilities were told of
        try:
            self._wait_until_loaded()
            self._dialect = Dialect(self._ids_of, self._bytes, self._adds_space())
            self.vocabulary: int | None = self._told("/v1/models")["data"][0]["meta"]["n_vocab"]
        except BaseException:
            self._child.kill()
            self._child.wait()
            raise
        threading.Thread(target=self._end_with_server, daemon=True, name="llama-server").start()

    @property
    def processes(self) -> tuple[int, ...]:
        """The ids of the processes that compute."""
        return (self._child.pid,)

    def add(self, request: EngineRequest) -> None:
        """Send a request. What the server refuses is told by `step`."""
        answer = Answer(self._socket, request, self._dialect)
        self._answers[request.number] = self._by_descriptor[answer.socket.fileno()] = answer
        self._poll.register(answer.socket, select.POLLIN)

    def cancel(self, number: int) -> None:
        """Close a request's connection, which frees its slot."""
        if answer := self._answers.pop(number, None):
            self._poll.unregister(answer.socket)
            del self._by_descriptor[answer.socket.fileno()]
            self._paused.pop(answer.socket.fileno(), None)
            answer.close()

    @property
    def busy(self) -> bool:
        """Whether a request is not finished."""
        return bool(self._answers)

    def step(self) -> list[Produced]:
        """Return what came since the last step, after waiting for it or for a message on the channel."""
        produced = [one for answer in self._ready() if (one := self._received(answer))]
        for one in produced:
            if one.reason:
                self.cancel(one.number)
        return produced

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token that a log-probability was told of."""
        return self._bytes.get(token, b"")

    def _ready(self) -> list[Answer]:
        """Wait, and return the answers whose connections have something to read or have ended."""
        first = min(self._paused.values(), default=None)
        found = self._poll.poll(None if first is None else max(0.0, 1000 * (first - time.monotonic())))
        soon = time.monotonic() + _TOGETHER_SECONDS
        due = [descriptor for descriptor, until in self._paused.items() if until <= soon]
        for descriptor in due:
            del self._paused[descriptor]
            self._poll.modify(descriptor, select.POLLIN)
        if due:
            found = self._poll.poll(0)
        return [self._by_descriptor[one] for one, _ in found if one in self._by_descriptor]

    def _received(self, answer: Answer) -> Produced | None:
        produced, descriptor, now = answer.receive(), answer.socket.fileno(), time.monotonic()
        if produced:
            if answer.looked is not None and produced.ids:
                self._rate += _NEWEST * (len(produced.ids) / (now - answer.looked) - self._rate)
            answer.looked = now
            self._paused[descriptor] = next_look(now, len(self._answers), self._rate)
            self._poll.modify(descriptor, _END)
        return produced

    def close(self) -> None:
        """End the server."""
        for number in list(self._answers):
            self.cancel(number)
        self._child.kill()

    def _ids_of(self, text: str) -> list[int]:
        """Return ids whose text is `text`, without what a tokenizer puts before a text."""
        # After a line break no tokenizer adds a space, and none joins it with what follows.
        tokens = self._pieces(f"\n{text}")
        for at in range(len(tokens) + 1):
            if b"".join(piece for _, piece in tokens[at:]) == text.encode():
                return [token for token, _ in tokens[at:]]
        raise ValueError(f"cannot find the tokens of {text!r}")

    def _adds_space(self) -> bool:
        """Return whether the tokenizer puts a space before a text, which is then no part of it."""
        return b"".join(piece for _, piece in self._pieces("a")).startswith(b" ")

    def _pieces(self, text: str) -> list[tuple[int, bytes]]:
        """Return the tokens of a text with their bytes."""
        connection = _Connection(self._socket)
        asked = {"content": text, "add_special": False, "with_pieces": True}
        connection.request("POST", "/tokenize", json.dumps(asked))
        tokens = json.loads(connection.getresponse().read())["tokens"]
        return [
            (int(one["id"]), piece.encode() if isinstance(piece := one["piece"], str) else bytes(piece))
            for one in tokens
        ]

    def _told(self, path: str) -> Any:
        """Return the answer to a question about the model."""
        connection = _Connection(self._socket)
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())

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
            time.sleep(min(_LONGEST_WAIT, max(_SHORTEST_WAIT, _WAIT_SHARE * (time.monotonic() - begun))))
        raise EdgehoneError(f"llama-server has not loaded the model after {_START_SECONDS:.0f} s")

    def _end_with_server(self) -> None:
        """End this process when the server ends: its parent then starts both again."""
        code = self._child.wait()
        print(f"error: llama-server ended with exit code {code}", flush=True)  # noqa: T201 - the job's log
        os._exit(1)


def next_look(now: float, answers: int, rate: float) -> float:
    """Return when to look at an answer again, of which a piece came just now, while there are so many answers.

    `rate` is the number of tokens a second of one of them. The times are the same for all answers, so that one look
    serves all. The first is 0.75 to 1.75 pauses away.
    """
    pause = max(_PAUSE_SECONDS, min(_LONGEST_PAUSE, answers / _LOOKS_A_SECOND))
    if rate * pause > _MOST_WAITING:
        pause = _MOST_WAITING / rate
    return (math.floor(now / pause + 0.75) + 1) * pause


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
        # The canaries of the proof, without which no server is ready, touch weights and buffers as the warm-up would.
        "--no-warmup",
        "--threads", settings.get("decode_threads", threads), "--threads-batch", threads,
        *device_options(settings),
        *runtime_options(settings),
    ]  # fmt: skip
    if (adapter := model.with_name(ADAPTER)).is_file():
        words += ["--lora", adapter]
    return [*(str(word) for word in words), *draft_options(settings, model.with_name(DRAFT))]


def device_options(settings: Mapping[str, Any]) -> list[Any]:
    """Return the options for the device. Without them llama-server puts what it can on any device that it finds."""
    named = settings.get("device", CPU)
    device = "none" if named == CPU else named
    words = ["--device", device] + ([] if named == CPU else ["--gpu-layers", settings.get(LAYERS, "all")])
    return words + (["--spec-draft-device", device] if settings.get("draft") else [])


def draft_options(settings: Mapping[str, Any], draft: Path) -> list[str]:
    """Return the options by which llama-server drafts tokens with a second model, [] unless the settings ask for it."""
    if not (drafted := settings.get("draft")):
        return []
    return ["--model-draft", str(draft), "--spec-type", "draft-simple", "--spec-draft-n-max", str(drafted)]


def runtime_options(settings: Mapping[str, Any]) -> list[str]:
    """Return the options of llama-server for the settings of a recipe, but for the threads."""
    cache = settings.get("kv_cache", "f16")
    words: list[Any] = ["--cache-type-k", cache, "--cache-type-v", cache]
    for name, option in (("batch", "--batch-size"), ("ubatch", "--ubatch-size")):
        words += [option, settings[name]] if name in settings else []
    if "flash_attention" in settings:
        words += ["--flash-attn", "on" if settings["flash_attention"] else "off"]
    words += _LOADS.get(settings.get("load", "mmap"), [])
    if drafted := settings.get("prompt_lookup"):
        words += ["--spec-type", "ngram-simple", "--spec-ngram-simple-size-n", min(LENGTHS)]
        words += ["--spec-ngram-simple-size-m", drafted]
    words += [] if settings.get("prefix_cache", True) else ["--no-cache-prompt"]
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
