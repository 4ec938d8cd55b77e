"""Answer requests with an engine until the parent closes the channel, for `edgehone serve` (worker side)."""

from __future__ import annotations

import traceback
from typing import Any

from edgehone.backends.capabilities import EngineBackend, VisionBackend, require
from edgehone.backends.serving import Engine, EngineRequest, Produced, PromptPicture
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.worker.backend import load_backend
from edgehone.worker.lines import Lines
from edgehone.worker.picture_engine import PictureEngine

# What the OpenAI API gives for tokens of no probability; JSON has no minus infinity.
_LEAST_LOGPROB = -9999.0


def serve(job: WorkerJob) -> dict[str, Any]:
    """Open the artifact and answer requests.

    args: backend, settings, places (the most requests at the same time), context (the model's limit, or None),
    pictures (not None for a vision-language model), and channel, the file descriptor of a socket. inputs: artifact.

    The first message sent is {"ready": true, "options": names, "processes": ids of those that compute, "context":
    the most tokens of a request, or null, "cache": the tokens that the KV cache holds of all requests, or null}.
    Messages received are requests, {"id", "ids", "count", "ends", "options", "picture": [the number of ids before it, a
    file in base64] or null}, and {"cancel": id}. Messages sent after a step are {"produced": [[id, ids, reason, error,
    logprobs]]},
    where logprobs is a list of [id, its logprob, those of the likeliest: [[id, logprob]]]. Returns answered, the number
    of requests that came to their end.
    """
    lines = Lines(job.args["channel"])
    engine = _open(job)
    state = {
        "options": sorted(engine.options),
        "processes": list(engine.processes),
        "context": engine.context,
        "cache": engine.cache,
    }
    lines.send({"ready": True, **state})
    answered = 0
    while (messages := lines.take(wait=not engine.busy)) is not None:
        for message in messages:
            _accept(engine, lines, message)
        produced = engine.step() if engine.busy else []
        if produced:
            answered += sum(one.reason is not None for one in produced)
            lines.send({"produced": list(map(_told, produced))})
    engine.close()
    return {"answered": answered}


def _open(job: WorkerJob) -> Engine:
    backend, artifact, settings = load_backend(job), job.inputs["artifact"], job.args["settings"]
    if job.args.get("pictures") is not None:
        return PictureEngine(require(backend, VisionBackend).open_vision(artifact, settings, job))
    return require(backend, EngineBackend).open_engine(artifact, settings, job, job.args["places"])


def _told(produced: Produced) -> list[Any]:
    logprobs = [
        [
            one.token,
            max(one.logprob, _LEAST_LOGPROB),
            [[token, max(value, _LEAST_LOGPROB)] for token, value in one.top],
        ]
        for one in produced.logprobs
    ]
    return [produced.number, list(produced.ids), produced.reason, produced.error, logprobs]


def _accept(engine: Engine, lines: Lines, message: dict[str, Any]) -> None:
    if "cancel" in message:
        engine.cancel(message["cancel"])
        return
    number, shown = message["id"], message["picture"]
    request = EngineRequest(
        number, message["ids"], message["count"], frozenset(message["ends"]), message["options"],
        PromptPicture(*shown) if shown else None,
    )  # fmt: skip
    try:
        engine.add(request)
    except EdgehoneError as error:
        lines.send({"produced": [[number, [], "refused", error.message, []]]})
    except Exception as error:  # noqa: BLE001 - a framework may raise any type; only this request fails
        traceback.print_exc()
        lines.send({"produced": [[number, [], "error", f"{type(error).__name__}: {error}", []]]})
