"""Answer prompts that people send by mistake, each by itself, and tell which fail (worker side)."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.worker.backend import load_backend


def answers(job: WorkerJob) -> dict[str, Any]:
    """Continue each prompt greedily.

    args: backend, settings, prompts (ids by name), count (tokens of an answer), vocabulary (or None). inputs:
    artifact. Returns for each name {"ids", "error"}; the error is None for an answer of ids within the vocabulary.
    """
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
    found: dict[str, Any] = {}
    for name, prompt in job.args["prompts"].items():
        ids, error = list[int](), None
        try:
            ids = [int(i) for i in session.generate(prompt, job.args["count"]).ids]
        except Exception as raised:  # noqa: BLE001 - a framework may raise any type; the others are still answered
            error = f"{type(raised).__name__}: {raised}"
        size = job.args["vocabulary"]
        if error is None and not ids:
            error = "no token was generated"
        elif size and any(not 0 <= i < size for i in ids):
            error = f"an id outside the vocabulary of {size} was generated"
        found[name] = {"ids": ids, "error": error}
    session.close()
    return found
