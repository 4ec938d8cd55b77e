"""Hold a conversation with a server that speaks the OpenAI API."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from edgehone.core.errors import InputError, JobError
from edgehone.inference.run_bundle import check_text
from edgehone.inference.sampling import SamplingOptions

# The environment variable with the key of the server.
KEY = "EDGEHONE_API_KEY"
_SECONDS = 600


class RemoteConversation:
    """A conversation with one model of a server, with its history."""

    def __init__(
        self, url: str, max_tokens: int, *, sampling: SamplingOptions, system: str | None, model: str | None
    ) -> None:
        """Ask the server for its models. Raises InputError for an unknown one, and for none if several are served."""
        check_text(system or "", "--system")
        self._url, self._max_tokens = url.rstrip("/").removesuffix("/v1"), max_tokens
        names = ("temperature", "top_p", "top_k", "repetition_penalty", "seed")
        given = {name: getattr(sampling, name) for name in names}
        self.sampling: dict[str, Any] | None = {n: v for n, v in given.items() if v is not None} or None
        self._system = [{"role": "system", "content": system}] if system else []
        self.messages: list[dict[str, str]] = []
        self.model = self._chosen(model)

    def say(self, text: str, write: Callable[[str], None] = lambda piece: None) -> dict[str, Any]:
        """Send a message, call `write` with each piece of the answer, and return its facts.

        Raises InputError if the server refuses the message, JobError if it fails. It is then not part of the history.
        """
        check_text(text, "the message")
        asked = [*self.messages, {"role": "user", "content": text}]
        body = {
            "model": self.model,
            "messages": [*self._system, *asked],
            "max_tokens": self._max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **(self.sampling or {}),
        }
        begun, first, pieces, usage = time.perf_counter(), None, list[str](), dict[str, Any]()
        for event in self._events(body):
            if "error" in event:
                raise JobError(event["error"]["message"])
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                if piece := choice["delta"].get("content"):
                    first = first or time.perf_counter()
                    pieces.append(piece)
                    write(piece)
        answer = "".join(pieces)
        self.messages = [*asked, {"role": "assistant", "content": answer}]
        return {
            "answer": answer,
            "tokens": usage.get("completion_tokens"),
            "prompt_tokens": usage.get("prompt_tokens"),
            "ttft_s": first and first - begun,
        }

    def clear(self) -> None:
        """Forget the history, but not the system's message."""
        self.messages = []

    def _chosen(self, model: str | None) -> str:
        names = [one["id"] for one in json.loads(self._open("/v1/models", None).read())["data"]]
        if model is None and len(names) == 1:
            return str(names[0])
        if model is None or model not in names:
            which = "names no model" if model is None else f"has no model {model!r}"
            raise InputError(
                f"{self._url} {which}: it serves {', '.join(names)}", hint="give one with --model"
            )
        return model

    def _events(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        with self._open("/v1/chat/completions", json.dumps(body).encode()) as answer:
            for line in answer:
                content = line.strip().removeprefix(b"data:").strip()
                if content == b"[DONE]":
                    return
                if content:
                    yield json.loads(content)

    def _open(self, path: str, body: bytes | None) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._url + path, body, {"Content-Type": "application/json"})
        if key := os.environ.get(KEY):
            # A server that is redirected to does not get the key.
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        try:
            opened: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_SECONDS)
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise InputError(f"cannot reach {self._url}: {reason}", hint="edgehone serve BUNDLE") from error
        return opened

    def _refusal(self, error: urllib.error.HTTPError) -> InputError | JobError:
        try:
            message = json.loads(error.read())["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = f"{self._url} answered with status {error.code}"
        if error.code == 401:
            return InputError(message, hint=f"export {KEY}=... with the server's key")
        return InputError(message) if error.code < 500 else JobError(message)
