"""Generate text from an artifact, for `edgehone run` and `edgehone backends check` (worker side)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from edgehone.backends.capabilities import VisionBackend, capability, require
from edgehone.backends.sessions import (
    Generation,
    Sampling,
    SamplingSession,
    Session,
    VisionSession,
    WorkerJob,
)
from edgehone.core.errors import InputError
from edgehone.worker.backend import load_backend
from edgehone.worker.picture_prompt import PICTURE, picture_prompt
from edgehone.worker.prepare_pictures import read
from edgehone.worker.text import Text

# Generates up to a number of tokens and reports each to a function that returns whether to stop.
Run = Callable[[int, Callable[[int], bool]], Generation]


def generate(job: WorkerJob) -> dict[str, Any]:
    """Write the answer to a prompt to standard output as it is generated.

    args: backend, settings, prompt (text), max_tokens, eos (ids that end the text), optionally raw (continue the plain
    text even if the model has a chat template), sampling (fields of `Sampling`; greedy without), context (the model's
    limit, prompt included); with inputs["picture"] also template (see `prepare_pictures`). inputs: artifact, optionally
    tokenizer (the folder in a bundle) and picture.

    Returns what `answer` returns, and template (whether the chat template was used) and tokenizer ("original" or
    "runtime"). Raises InputError for a prompt without tokens or beyond the context.
    """
    backend = load_backend(job)
    with_picture = "picture" in job.inputs
    open_session = require(backend, VisionBackend).open_vision if with_picture else backend.open_session
    session: Any = open_session(job.inputs["artifact"], job.args["settings"], job)
    text = Text(job, session)
    asked = _with_picture if with_picture else _with_text
    run, tokens, chats = asked(job, session, text)
    limit = fitting(tokens, job.args["max_tokens"], job.args.get("context"))
    facts = answer(run, text, limit, job.args["eos"], _write)
    _write("\n")
    session.close()
    return {
        **facts,
        "prompt_tokens": tokens,
        "context_limited": limit < job.args["max_tokens"],
        "template": chats,
        "tokenizer": text.source,
    }


def _with_text(job: WorkerJob, session: Session, text: Text) -> tuple[Run, int, bool]:
    """Return the function that answers the prompt, its number of tokens, and whether the chat template is used."""
    chats = text.has_template and not job.args.get("raw", False)
    message = {"role": "user", "content": job.args["prompt"]}
    prompt = text.conversation([message]) if chats else text.prompt(job.args["prompt"])
    return drawing(session, prompt, job.args.get("sampling")), len(prompt), chats


def _with_picture(job: WorkerJob, session: VisionSession, text: Text) -> tuple[Run, int, bool]:
    """Return the same for a prompt about a picture; its tokens include the positions of the picture."""
    template, picture = job.args["template"], read(job.inputs["picture"])
    parts = [PICTURE, {"type": "text", "text": job.args["prompt"]}]
    before, after = picture_prompt(text, template, [{"role": "user", "content": parts}])
    tokens = len(before) + template.get("positions", 0) + len(after)
    return lambda count, on_token: session.describe(picture, before, after, count, on_token), tokens, False


def answer(
    run: Run,
    text: Text,
    max_tokens: int,
    eos: list[int],
    write: Callable[[str], bool],
) -> dict[str, Any]:
    """Generate up to `max_tokens`, and write the text as it becomes certain until `write` returns False.

    `run` generates a number of tokens and reports each. Returns text, tokens (their number, without the one that
    ended the text), ended (whether one did), ttft_s (seconds to the first token) and decode_tokens_per_s.
    """
    ends, stream, ended = set(eos), text.stream(), False
    parts: list[str] = []  # one for each token, and the rest

    def on_token(token: int) -> bool:
        nonlocal ended
        ended = ended or token in ends
        if ended:  # transformers reports one more token after that
            return True
        parts.append(stream.add(token))
        return bool(parts[-1]) and not write(parts[-1])

    generation = run(max_tokens, on_token)
    tokens = len(parts)
    if rest := stream.finish():
        parts.append(rest)
        write(rest)
    times = generation.times
    decode_s = times[-1] - times[0] if len(times) > 1 else 0.0
    return {
        "text": "".join(parts),
        "tokens": tokens,
        "ended": ended,
        "ttft_s": times[0] - generation.started if times else None,
        "decode_tokens_per_s": (len(times) - 1) / decode_s if decode_s else None,
    }


def drawing(session: Session, prompt: list[int], sampling: dict[str, Any] | None) -> Run:
    """Return the function that continues a prompt: greedily without `sampling`, else with the session's sampler.

    Raises InputError if the session has none.
    """
    if sampling is None:
        return lambda count, on_token: session.generate(prompt, count, on_token)
    sampler = capability(session, SamplingSession)
    if sampler is None:
        raise InputError(
            "this backend takes the likeliest token only; it has no sampler",
            hint="add --temperature 0 --repetition-penalty 1",
        )
    drawn = Sampling(**sampling)
    return lambda count, on_token: sampler.sample(prompt, count, drawn, on_token)


def fitting(prompt_tokens: int, max_tokens: int, context: int | None) -> int:
    """Return the number of tokens that fit into the context after the prompt, at most `max_tokens`.

    Raises InputError if the prompt leaves no room for one.
    """
    if context is None:
        return max_tokens
    if prompt_tokens >= context:
        raise InputError(
            f"the prompt has {prompt_tokens} tokens; the model's context is {context}",
            hint="give a shorter prompt",
        )
    return min(max_tokens, context - prompt_tokens)


def _write(text: str) -> bool:
    """Write to standard output and flush.

    Returns False if the reader has closed it (`| head`), which is not an error.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        return False
    return True
