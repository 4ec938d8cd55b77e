"""Generate text from an artifact, for `edgehone run` and `edgehone backends check` (worker side)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from edgehone.backends.capabilities import VisionBackend, require
from edgehone.backends.sessions import Generation, Session, VisionSession, WorkerJob
from edgehone.worker.backend import load_backend


def generate(job: WorkerJob) -> dict[str, Any]:
    """Write the prompt's continuation to standard output as it is generated.

    args: backend, settings, prompt (text), max_tokens, eos (ids that end the text); with inputs["picture"] also
    template (the ids before a picture, and around the prompt that follows it). inputs: artifact, optionally picture.
    Returns text, prompt_tokens, tokens, ttft_s (seconds to the first token) and decode_tokens_per_s. Raises
    ValueError if the prompt has no token.
    """
    backend = load_backend(job)
    with_picture = "picture" in job.inputs
    open_session = require(backend, VisionBackend).open_vision if with_picture else backend.open_session
    session: Any = open_session(job.inputs["artifact"], job.args["settings"], job)
    ends = set(job.args["eos"])
    ids: list[int] = []
    text_so_far = ""

    def on_token(token: int) -> bool:
        nonlocal text_so_far
        if token in ends:
            return True
        ids.append(token)
        text = session.detokenize(ids)
        # An incomplete UTF-8 sequence is held back until its remaining bytes are generated.
        if not text.endswith("\ufffd"):
            written = _write(text.removeprefix(text_so_far))
            text_so_far = text
            return not written
        return False

    prompt = session.tokenize(job.args["prompt"])
    if not prompt:
        raise ValueError("the prompt has no token")
    run = _describe if with_picture else _continue
    generation = run(job, session, prompt, on_token)
    _write("\n")
    session.close()
    decode_s = generation.times[-1] - generation.times[0] if len(generation.times) > 1 else 0.0
    return {
        "text": text_so_far,
        "prompt_tokens": len(prompt),
        "tokens": len(ids),
        "ttft_s": generation.times[0] - generation.started if generation.times else None,
        "decode_tokens_per_s": (len(generation.times) - 1) / decode_s if decode_s else None,
    }


def _continue(job: WorkerJob, session: Session, prompt: list[int], show: Callable[[int], bool]) -> Generation:
    """Continue a prompt without a picture."""
    return session.generate(prompt, job.args["max_tokens"], show)


def _describe(
    job: WorkerJob, session: VisionSession, prompt: list[int], show: Callable[[int], bool]
) -> Generation:
    """Answer a prompt about a picture, in the model's own template."""
    from edgehone.worker.prepare_pictures import read

    template = job.args["template"]
    # The ids before the picture already start with a BOS.
    bos = template["before"][:1] if prompt[:1] == template["before"][:1] else []
    after = [*template["head"], *prompt[len(bos) :], *template["tail"]]
    picture = read(job.inputs["picture"])
    return session.describe(picture, template["before"], after, job.args["max_tokens"], show)


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
