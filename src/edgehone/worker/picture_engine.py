"""An engine over the session of a vision-language model: one request at a time, as `edgehone run` answers it (worker).

llama.cpp's server and OpenVINO GenAI tokenize the text around a picture by rules of their own, which give other ids
than the model's processor. The session takes ids, and is the one that was scored.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from edgehone.backends.serving import EngineRequest, Option, Produced
from edgehone.core.errors import EdgehoneError
from edgehone.worker.picture_file import decode

if TYPE_CHECKING:
    from edgehone.backends.sessions import VisionSession

# How long a step waits for a token before new requests are accepted.
_WAIT_SECONDS = 0.02


class PictureEngine:
    """Answers requests in their order, in a thread of its own."""

    options: frozenset[Option] = frozenset()
    context: int | None = None
    cache: int | None = None  # the session's context is opened for each request
    vocabulary: int | None = None
    processes: tuple[int, ...] = ()

    def __init__(self, session: VisionSession) -> None:
        self._session = session
        self._asked: queue.SimpleQueue[EngineRequest | None] = queue.SimpleQueue()
        self._produced: queue.SimpleQueue[Produced] = queue.SimpleQueue()
        self._wanted: set[int] = set()
        self._thread = threading.Thread(target=self._answer_all, daemon=True, name="vision")
        self._thread.start()

    def add(self, request: EngineRequest) -> None:
        """Accept a request."""
        self._wanted.add(request.number)
        self._asked.put(request)

    def cancel(self, number: int) -> None:
        """Forget a request; one that is being answered ends with its next token."""
        self._wanted.discard(number)

    @property
    def busy(self) -> bool:
        """Whether a request is not finished."""
        return bool(self._wanted)

    def step(self) -> list[Produced]:
        """Return what was produced since the last step, after waiting for it for a moment."""
        found = [one for one in self._taken() if one.number in self._wanted]
        for one in found:
            if one.reason:
                self._wanted.discard(one.number)
        return found

    def close(self) -> None:
        """End the thread and free the session."""
        self._wanted.clear()
        self._asked.put(None)
        self._thread.join()
        self._session.close()

    def _taken(self) -> Iterator[Produced]:
        try:
            yield self._produced.get(timeout=_WAIT_SECONDS)
            while True:
                yield self._produced.get_nowait()
        except queue.Empty:
            return

    def _answer_all(self) -> None:
        while (request := self._asked.get()) is not None:
            if request.number not in self._wanted:
                continue
            try:
                self._answer(request)
            except EdgehoneError as error:
                self._produced.put(Produced(request.number, [], "refused", error.message))
            except Exception as error:  # noqa: BLE001 - a framework may raise any type; only this request fails
                traceback.print_exc()
                told = f"{type(error).__name__}: {error}"
                self._produced.put(Produced(request.number, [], "error", told))

    def _answer(self, request: EngineRequest) -> None:
        made, ended = 0, False

        def on_token(token: int) -> bool:
            nonlocal made, ended
            if ended:  # transformers reports one more token after that
                return True
            ended = token in request.ends
            made += not ended
            ended = ended or made == request.count
            reason: Literal["stop", "length"] | None = (
                None if not ended else "stop" if token in request.ends else "length"
            )
            ids = [] if token in request.ends else [token]
            self._produced.put(Produced(request.number, ids, reason))
            return ended or request.number not in self._wanted

        ids, picture = list(request.ids), request.picture
        if picture is None:
            self._session.generate(ids, request.count, on_token)
            return
        before, after = ids[: picture.at], ids[picture.at :]
        self._session.describe(decode(picture.data), before, after, request.count, on_token)
