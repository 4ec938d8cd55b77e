"""Generate from an artifact: the worker's side of `edgehone run` and of `edgehone backends check`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from edgehone.backends.capabilities import VisionBackend, require
from edgehone.backends.sessions import (
    Generation,
    Session,
    VisionSession,
    WorkerJob,
)
from edgehone.worker.backend import load_backend


def generate(job: WorkerJob) -> dict[str, Any]:
    """Write the prompt's continuation to standard output as it comes.

    args: backend, settings, prompt (text), max_tokens, eos (ids that end it), and with inputs["picture"] template (ids
    before a picture, and around a prompt behind it). Returns tokens, seconds to the first token and tokens/s after it.
    """
    backend = load_backend(job)
    seeing = "picture" in job.inputs
    opened = require(backend, VisionBackend).open_vision if seeing else backend.open_session
    session: Any = opened(job.inputs["artifact"], job.args["settings"], job)
    ends = set(job.args["eos"])
    ids: list[int] = []
    shown = ""

    def show(token: int) -> bool:
        nonlocal shown
        if token in ends:
            return True
        ids.append(token)
        text = session.detokenize(ids)
        # An incomplete UTF-8 sequence waits for its other bytes.
        if not text.endswith("\ufffd"):
            heard = _say(text.removeprefix(shown))
            shown = text
            return not heard
        return False

    prompt = session.tokenize(job.args["prompt"])
    if not prompt:
        raise ValueError("the prompt has no token")
    whole = _describe if seeing else _continue
    made = whole(job, session, prompt, show)
    _say("\n")
    session.close()
    after = made.times[-1] - made.times[0] if len(made.times) > 1 else 0.0
    return {
        "text": shown,
        "prompt_tokens": len(prompt),
        "tokens": len(ids),
        "ttft_s": made.times[0] - made.started if made.times else None,
        "decode_tokens_per_s": (len(made.times) - 1) / after if after else None,
    }


def _continue(job: WorkerJob, session: Session, prompt: list[int], show: Callable[[int], bool]) -> Generation:
    return session.generate(prompt, job.args["max_tokens"], show)


def _describe(
    job: WorkerJob, session: VisionSession, prompt: list[int], show: Callable[[int], bool]
) -> Generation:
    """The answer to a prompt about a picture, in the model's own template."""
    from edgehone.worker.prepare_pictures import read

    template = job.args["template"]
    # A BOS stands in front of the picture already.
    bos = template["before"][:1] if prompt[:1] == template["before"][:1] else []
    after = [*template["head"], *prompt[len(bos) :], *template["tail"]]
    picture = read(job.inputs["picture"])
    return session.describe(picture, template["before"], after, job.args["max_tokens"], show)


def _say(text: str) -> bool:
    """Write to standard output at once; False if its reader left (`| head`), which is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        return False
    return True
