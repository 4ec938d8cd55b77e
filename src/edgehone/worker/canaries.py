"""Answer a bundle's canaries with its artifact, so that an engine can later be compared with it (worker side)."""

from __future__ import annotations

import itertools
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.worker.backend import load_backend


def answers(job: WorkerJob) -> dict[str, Any]:
    """Continue prompts greedily, in the session that was scored.

    args: backend, settings, prompts (lists of ids), count (the most tokens of an answer), eos (ids that end a text; an
    answer stops before the first). inputs: artifact. Returns canaries: for each prompt with an answer an object with
    prompt and answer, both ids.
    """
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
    ends = set(job.args["eos"])
    found = []
    for prompt in job.args["prompts"]:
        ids = session.generate(prompt, job.args["count"]).ids
        answer = list(itertools.takewhile(lambda token: token not in ends, ids))
        if answer:
            found.append({"prompt": prompt, "answer": answer})
    session.close()
    return {"canaries": found}
