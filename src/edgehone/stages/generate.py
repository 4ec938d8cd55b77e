"""Generate from an artifact: the worker's side of `edgehone run` and of `edgehone backends check`."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from edgehone.backends.base import Session, WorkerJob


def generate(job: WorkerJob) -> dict[str, Any]:
    """Write the prompt's continuation to standard output as it comes.

    args: backend, settings, prompt (text), max_tokens, eos (ids that end it). Returns tokens, seconds to the
    first token and tokens/s after it.
    """
    backend = importlib.import_module(job.args["backend"])
    session: Session = backend.open_session(job.inputs["artifact"], job.args["settings"], job)
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
    made = session.generate(prompt, job.args["max_tokens"], show)
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


def _say(text: str) -> bool:
    """Write to standard output at once; False if its reader left (`| head`), which is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        return False
    return True
