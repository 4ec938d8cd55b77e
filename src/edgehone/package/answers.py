"""Answer prompts with an artifact that lies in a package (worker side)."""

from __future__ import annotations

import itertools
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.worker.backend import load_backend


def answers(job: WorkerJob) -> dict[str, Any]:
    """Continue prompts greedily, in the session that was scored.

    args: backend, settings, prompts (lists of ids), count (the most tokens of an answer), eos (ids that end an answer).
    inputs: artifact (a folder). Returns answers (lists of ids).
    """
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
    found = [session.generate(prompt, job.args["count"]).ids for prompt in job.args["prompts"]]
    session.close()
    return {"answers": ended(found, job.args["eos"])}


def ended(answers: list[list[int]], eos: list[int]) -> list[list[int]]:
    """Return the answers up to the first of the ids that end a text."""
    ends = set(eos)
    return [list(itertools.takewhile(lambda token: token not in ends, one)) for one in answers]
