"""Answer requests with an engine until the parent closes the channel, for `edgehone serve` (worker side)."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from edgehone.backends.capabilities import EngineBackend, VisionBackend, require
from edgehone.backends.serving import ConstrainedEngine, Engine, EngineRequest, PromptPicture, TextEngine
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.execution.time_slice import shorten_slice
from edgehone.worker.answer_text import Answers, AnswerText, Piece
from edgehone.worker.backend import load_backend
from edgehone.worker.constrained import constrain
from edgehone.worker.lines import Lines
from edgehone.worker.picture_engine import PictureEngine
from edgehone.worker.text import RuntimeTokenizer, Text


def serve(job: WorkerJob) -> dict[str, Any]:
    """Open the artifact and answer requests.

    args: backend, settings, places (the most requests at the same time), context (the model's limit, or None),
    pictures (not None for a vision-language model), and channel, the file descriptor of a socket. inputs: artifact,
    optionally tokenizer (the folder in a bundle).

    The first message sent is {"ready": true, "options": names, "processes": ids of those that compute, "context":
    the most tokens of a request, or null, "cache": the tokens that the KV cache holds of all requests, or null,
    "vocabulary": the number of ids, or null, "without": for options that this model's engine lacks, why}.
    Messages received are requests, {"id", "ids", "count", "ends", "options", "picture": [the number of ids before it, a
    file in base64] or null, "stops": texts that end the answer, or null for ids instead of text}, and {"cancel": id}.
    Messages sent are {"produced": [[text, tokens, reason, logprobs, id, ids, error]]}, see `answer_text.Piece`. Returns
    answered, the number of requests that came to their end.
    """
    lines = Lines(job.args["channel"])
    with ThreadPoolExecutor(1) as beside:
        # A tokenizer with many words takes as long to load as a small model.
        loaded = beside.submit(_text, job)
        engine = _open(job)
    text, session = loaded.result()
    problem = constrain(engine, text) if isinstance(engine, ConstrainedEngine) else None
    serving = _Serving(engine, lines, Answers(_texts(text, session, engine), paced=bool(engine.processes)))
    state = {
        "without": {"plain_json_schema": problem} if problem else {},
        "options": sorted(engine.options),
        "processes": list(engine.processes),
        "context": engine.context,
        "cache": engine.cache,
        "vocabulary": engine.vocabulary,
    }
    if engine.processes:
        shorten_slice()  # they compute; this one passes on what they say
    lines.send({"ready": True, **state})
    while (messages := lines.take(wait=not engine.busy)) is not None:
        for message in messages:
            serving.accept(message)
        if engine.busy:
            serving.step()
    engine.close()
    return {"answered": serving.answered}


def _open(job: WorkerJob) -> Engine:
    backend, artifact, settings = load_backend(job), job.inputs["artifact"], job.args["settings"]
    if job.args.get("pictures") is not None:
        return PictureEngine(require(backend, VisionBackend).open_vision(artifact, settings, job))
    return require(backend, EngineBackend).open_engine(artifact, settings, job, job.args["places"])


def _text(job: WorkerJob) -> tuple[Text, RuntimeTokenizer]:
    """Load the tokenizer of the bundle, if it has one; else that of the runtime is needed, which is not opened yet."""
    session = RuntimeTokenizer(job)
    return Text(job, session), session


def _texts(text: Text, session: RuntimeTokenizer, engine: Engine) -> Callable[[Sequence[str]], AnswerText]:
    """Return a function that begins the text of an answer.

    The tokenizer of the bundle decodes; without one the runtime does, by itself or by a session that is opened for it.
    """
    if text.source == "runtime" and isinstance(engine, TextEngine):
        token_bytes = engine.token_bytes
        return lambda stops: AnswerText(None, stops, token_bytes)
    if text.source == "runtime":
        session.open()
    return lambda stops: AnswerText(text.stream(), stops, text.token_bytes)


class _Serving:
    """An engine and the requests to it."""

    def __init__(self, engine: Engine, lines: Lines, answers: Answers) -> None:
        self._engine, self._lines, self._answers = engine, lines, answers
        self.answered = 0

    def accept(self, message: dict[str, Any]) -> None:
        """Take a request, or the end of one."""
        if "cancel" in message:
            self._engine.cancel(message["cancel"])
            self._answers.forget(message["cancel"])
            return
        number, shown = message["id"], message["picture"]
        request = EngineRequest(
            number, message["ids"], message["count"], frozenset(message["ends"]), message["options"],
            PromptPicture(*shown) if shown else None,
        )  # fmt: skip
        try:
            self._engine.add(request)
        except EdgehoneError as error:
            self._tell([Piece(number, reason="refused", error=error.message)])
        except Exception as error:  # noqa: BLE001 - a framework may raise any type; only this request fails
            traceback.print_exc()
            self._tell([Piece(number, reason="error", error=f"{type(error).__name__}: {error}")])
        else:
            self._answers.open(number, message["stops"])

    def step(self) -> None:
        """Run a step of the engine, and tell what is due. A stop string ends a request of the engine."""
        pieces = self._answers.pieces(self._engine.step())
        for one in pieces:
            if one.reason is not None:
                self.answered += 1
                self._engine.cancel(one.number)
        if pieces:
            self._tell(pieces)

    def _tell(self, pieces: Sequence[Piece]) -> None:
        self._lines.send({"produced": [one.told() for one in pieces]})
