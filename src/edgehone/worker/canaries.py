"""Answer a bundle's canaries with its artifact, so that an engine can later be compared with it (worker side)."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.worker.backend import load_backend


def answers(job: WorkerJob) -> dict[str, Any]:
    """Continue prompts greedily, in the session that was scored.

    args: backend, settings, prompts (lists of ids), count (tokens of each answer). inputs: artifact. Returns canaries:
    for each prompt an object with prompt and answer, both ids.
    """
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
    count = job.args["count"]
    found = [
        {"prompt": list(prompt), "answer": session.generate(prompt, count).ids}
        for prompt in job.args["prompts"]
    ]
    session.close()
    return {"canaries": found}
