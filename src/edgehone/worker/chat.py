"""Hold a conversation with a language model in one process, for `edgehone chat` (worker side)."""

from __future__ import annotations

import json
import os
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError, InputError
from edgehone.worker.backend import load_backend
from edgehone.worker.generate import answer, drawing, fitting
from edgehone.worker.text import Text


def chat(job: WorkerJob) -> dict[str, Any]:
    """Answer requests until no more follow.

    args: backend, settings, eos, context (the model's limit, or None), and the file descriptors requests and replies.
    A request is a line {"messages": [{"role", "content"}], "max_tokens": n, "sampling": fields of `Sampling` or null}.
    The replies are lines {"text": a piece of the answer}, and the last one {"last": true, ...} with the facts that
    `worker.generate.answer` returns, or with `error` and `hint`. inputs: artifact, tokenizer (the folder in a bundle).

    Returns answers, their number. Raises InputError for a model without a chat template.
    """
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
    text = Text(job, session)
    if not text.has_template:
        raise InputError("the model has no chat template")
    answers = 0
    with (
        os.fdopen(job.args["requests"], encoding="utf-8") as requests,
        os.fdopen(job.args["replies"], "w", encoding="utf-8") as replies,
    ):

        def reply(**fields: Any) -> bool:
            print(json.dumps(fields), file=replies, flush=True)
            return True

        for line in requests:
            try:
                facts = _answer(job, session, text, json.loads(line), lambda piece: reply(text=piece))
            except EdgehoneError as error:
                reply(last=True, error=error.message, hint=error.hint)
                continue
            reply(last=True, **facts)
            answers += 1
    session.close()
    return {"answers": answers}


def _answer(job: WorkerJob, session: Any, text: Text, request: dict[str, Any], write: Any) -> dict[str, Any]:
    prompt = text.conversation(request["messages"])
    limit = fitting(len(prompt), request["max_tokens"], job.args.get("context"))
    run = drawing(session, prompt, request["sampling"])
    facts = answer(run, text, limit, job.args["eos"], write)
    return {"answer": facts.pop("text"), **facts, "prompt_tokens": len(prompt), "tokenizer": text.source}
