"""Compare the greedy tokens of drafted generation with those of plain generation (worker side)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.worker.backend import load_backend

# Prompts from places spread over the evaluation text, their tokens, and the tokens that each is continued by.
_PROMPTS, _TOKENS, _COUNT = 4, 64, 64


def compare(job: WorkerJob) -> dict[str, Any]:
    """Continue the same prompts with two settings of one artifact.

    args: backend, settings, plain (the settings to compare with), bos. inputs: artifact, prepared (`worker.prepare`).
    Returns `compared` (tokens in all) and `differs`: None, or for the first prompt that is continued differently its
    number and the number of tokens that are equal.
    """
    text = json.loads((job.inputs["prepared"] / "evaluation.json").read_text("utf-8"))["ids"]
    prompts = _prompts(text, list(job.args["bos"]))
    plain = _continued(job, job.args["plain"], prompts)
    drafted = _continued(job, job.args["settings"], prompts)
    for number, (one, other) in enumerate(zip(plain, drafted, strict=True)):
        if one != other:
            equal = next(at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
            return {"compared": _COUNT * len(prompts), "differs": {"prompt": number + 1, "equal": equal}}
    return {"compared": _COUNT * len(prompts), "differs": None}


def _prompts(text: Sequence[int], bos: list[int]) -> list[list[int]]:
    step = max(1, (len(text) - _TOKENS) // _PROMPTS)
    return [bos + list(text[at * step : at * step + _TOKENS]) for at in range(_PROMPTS)]


def _continued(job: WorkerJob, settings: Any, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    session = load_backend(job).open_session(job.inputs["artifact"], settings, job)
    try:
        return [session.generate(ids, _COUNT).ids for ids in prompts]
    finally:
        session.close()
