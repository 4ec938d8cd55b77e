"""What a model makes of passages of a text: their ids, and how it goes on after their first half (worker side)."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.worker.backend import load_backend


def tokenized(job: WorkerJob) -> dict[str, Any]:
    """Return the ids of each of the args["texts"], by the artifact's own tokenizer.

    args: backend, settings, texts. inputs: artifact. Returns ids.
    """
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
    ids = [[int(one) for one in session.tokenize(text)] for text in job.args["texts"]]
    session.close()
    return {"ids": ids}


def continued(job: WorkerJob) -> dict[str, Any]:
    """Give the model the first half of the ids of each text, and let it go on greedily for as many as the second has.

    args: backend, settings, texts. inputs: artifact. Returns ids and answers, both lists of ids by text.
    """
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
    every, answers = list[list[int]](), list[list[int]]()
    for text in job.args["texts"]:
        ids = [int(one) for one in session.tokenize(text)]
        half = (len(ids) + 1) // 2
        every.append(ids)
        answers.append([int(one) for one in session.generate(ids[:half], len(ids) - half).ids])
    session.close()
    return {"ids": every, "answers": answers}
