"""Compare the greedy tokens of drafted generation with those of plain generation (worker side).

A runtime computes one token and several at a time by different kernels, whose sums differ. Where two tokens are as
likely within that difference, either may come. How large it is, the plain tokens show themselves: by how much a token
that was chosen one at a time falls short of the likeliest when its whole text is scored at once. Drafted tokens that
fall short by hardly more are as greedy as the plain ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgehone.backends.sessions import WorkerJob
from edgehone.worker.backend import load_backend

if TYPE_CHECKING:
    from edgehone.backends.sessions import Generation, Session

# Prompts, the tokens of those from the evaluation text, and the tokens that each is continued by.
_PROMPTS, _TOKENS, _COUNT = 4, 64, 64
# Tokens this close are a tie whatever the plain ones show, in nats: the divergence at which a conversion is still exact
# is a tenth of it (`parity_check` in data/requirements.toml).
TIE = 0.01
# The largest shortfalls of as many plain and drafted tokens vary by chance, up to about this factor.
FACTOR = 2.0


def compare(job: WorkerJob) -> dict[str, Any]:
    """Continue the same prompts with two settings of one artifact.

    args: backend, settings, plain (the settings to compare with), bos, prompts (ids; [] takes some from places spread
    over the evaluation text), context (the model's, or None). inputs: artifact, prepared (`worker.prepare`). Returns
    `compared` (tokens in all), `ties` (the prompts that go on differently after a tie), `tokens_per_pass`, and
    `differs`: None, or for the first prompt that is continued by less likely tokens its number, the number of tokens
    that are equal, by how many nats a token falls short of the likeliest (`short`), and by how many plain ones do
    (`plain`).
    """
    prompts = _some(job.args["prompts"], job.args["context"]) or _prompts(job)
    drafted = _continued(job, job.args["settings"], prompts)
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["plain"], job)
    try:
        plain = [session.generate(ids, _COUNT).ids for ids in prompts]
        found = _differing(session, prompts, plain, [one.ids for one in drafted])
    finally:
        session.close()
    return {"compared": _COUNT * len(prompts), "tokens_per_pass": tokens_per_pass(drafted), **found}


def tokens_per_pass(generations: Sequence[Generation]) -> float | None:
    """Return the tokens per pass after the first token: those of one pass have the same time. None without any."""
    tokens = sum(len(one.times) - 1 for one in generations)
    passes = sum(len(set(one.times[1:]) - {one.times[0]}) for one in generations)
    return tokens / passes if passes else None


def _differing(
    session: Session,
    prompts: Sequence[Sequence[int]],
    plain: Sequence[Sequence[int]],
    drafted: Sequence[Sequence[int]],
) -> dict[str, Any]:
    other = [number for number, pair in enumerate(zip(plain, drafted, strict=True)) if pair[0] != pair[1]]
    if not other:
        return {"ties": 0, "differs": None}
    largest = max(shortfall(session, *pair) for pair in zip(prompts, plain, strict=True))
    for number in other:
        short = shortfall(session, prompts[number], drafted[number])
        if not short <= max(FACTOR * largest, TIE):
            pairs = zip(plain[number], drafted[number], strict=True)
            equal = next(at for at, (a, b) in enumerate(pairs) if a != b)
            told = {"prompt": number + 1, "equal": equal, "short": short, "plain": largest}
            return {"ties": 0, "differs": told}
    return {"ties": len(other), "differs": None}


def shortfall(session: Session, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """Return by how many nats a token of an answer falls short of the likeliest one, at most, as a text is scored."""
    import numpy as np

    rows = np.concatenate(list(session.score([*prompt, *answer])))[len(prompt) - 1 : -1]
    chosen = rows[np.arange(len(answer)), list(answer)]
    return float((rows.max(axis=1).astype(np.float64) - chosen).max())


def _some(prompts: Sequence[Sequence[int]], context: int | None) -> list[list[int]]:
    step = max(1, len(prompts) // _PROMPTS)
    room = max(1, context - _COUNT) if context else None
    return [list(one if room is None else one[-room:]) for one in prompts[::step][:_PROMPTS]]


def _prompts(job: WorkerJob) -> list[list[int]]:
    text = json.loads((job.inputs["prepared"] / "evaluation.json").read_text("utf-8"))["ids"]
    step = max(1, (len(text) - _TOKENS) // _PROMPTS)
    return [[*job.args["bos"], *text[at * step : at * step + _TOKENS]] for at in range(_PROMPTS)]


def _continued(job: WorkerJob, settings: Any, prompts: Sequence[Sequence[int]]) -> list[Generation]:
    session = load_backend(job).open_session(job.inputs["artifact"], settings, job)
    try:
        return [session.generate(ids, _COUNT) for ids in prompts]
    finally:
        session.close()
