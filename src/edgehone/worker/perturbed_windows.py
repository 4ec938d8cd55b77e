"""Windows of text as it is and perturbed, on which a candidate is scored against the original (worker side)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.capabilities import TokenizerBackend, require
from edgehone.backends.sessions import Tokenizer, WorkerJob
from edgehone.core.errors import TextError
from edgehone.worker import perturb
from edgehone.worker.backend import load_backend

CLEAN, REPEATED = "clean", "repeated_tokens"
# The ids that are repeated in a window: a phrase, as a stuck key or a loop of another model gives it.
_PHRASE = 8
# A perturbed passage is cut from so much more text, since it may have fewer ids.
_MORE = 2
# Room for the answer to the longest prompt.
ANSWER = 8


def prepare(job: WorkerJob) -> dict[str, Any]:
    """Tokenize a text, and write windows of it to the folders `windows` and `long`, as `worker.score` reads them.

    args: backend (the module of the reference backend), windows, perturbed, window, long_windows, long (ids of such a
    window; 0: none), context (of the model, or None). inputs: model, text. In `windows` the first are clean, then
    follow those of each kind in `layout`; the i-th of a kind is the i-th clean one, perturbed.

    Returns bos, layout (kind → number), long (number of long windows) and prompts (ids by name: those that people send
    by mistake). Raises TextError if the text is too short.
    """
    backend = require(load_backend(job), TokenizerBackend)
    tokenizer = backend.open_tokenizer(job.inputs["model"], job)
    text = job.inputs["text"].read_text("utf-8")
    ids, sizes = tokenizer.encode(text)
    length = job.args["window"] - len(tokenizer.bos)
    count = min(job.args["windows"], len(ids) // length)
    perturbed = min(job.args["perturbed"], count)
    if count < 2:
        raise TextError(
            f"the text has {len(ids)} tokens, too few for 2 windows of {length}",
            hint="give a longer --eval FILE",
        )
    windows = [ids[at * length : (at + 1) * length] for at in range(count)]
    bytes_of = [sizes[at * length : (at + 1) * length] for at in range(count)]
    layout = {CLEAN: count}
    for kind in perturb.TEXT_KINDS:
        for at in range(perturbed):
            found = _perturbed(tokenizer, text, sizes, at * length, length, kind)
            windows.append(found[0])
            bytes_of.append(found[1])
        layout[kind] = perturbed
    for at in range(perturbed):
        windows.append(_repeated(windows[at], length))
        bytes_of.append(_repeated(bytes_of[at], length))
    layout[REPEATED] = perturbed
    _write(job.out / "windows", windows, bytes_of)
    longer = _long(job, ids, sizes, len(tokenizer.bos))
    return {
        "bos": list(tokenizer.bos),
        "layout": layout,
        "long": longer,
        "prompts": _prompts(tokenizer, ids, job.args["context"]),
    }


def _perturbed(
    tokenizer: Tokenizer, text: str, sizes: Sequence[int], begin: int, length: int, kind: str
) -> tuple[list[int], list[int]]:
    """Return ids and sizes of the passage whose ids begin at `begin`, perturbed and cut to `length` ids."""
    raw = text.encode()
    start = sum(sizes[:begin])
    passage = raw[start : start + _MORE * sum(sizes[begin : begin + length])].decode("utf-8", "ignore")
    ids, own = tokenizer.encode(perturb.text(kind, passage, begin))
    if len(ids) < length:
        raise TextError(f"a perturbed passage has {len(ids)} tokens, fewer than the {length} of a window")
    return list(ids[:length]), list(own[:length])


def _repeated(window: Sequence[int], length: int) -> list[int]:
    """Return the window with the end of its first half repeated over the second."""
    half = length // 2
    phrase = list(window[max(0, half - _PHRASE) : half])
    return [*window[:half], *(phrase * (1 + length // len(phrase)))[: length - half]]


def _long(job: WorkerJob, ids: Sequence[int], sizes: Sequence[int], bos: int) -> int:
    """Write windows of the workload's context that overlap as little as possible; return their number."""
    length = int(job.args["long"]) - bos
    if length < 8 or len(ids) < length + 1:
        return 0
    count = min(int(job.args["long_windows"]), 1 + (len(ids) - length) // max(1, length // 2))
    step = (len(ids) - length) // max(1, count - 1)
    parts = [slice(at * step, at * step + length) for at in range(count)]
    _write(job.out / "long", [ids[part] for part in parts], [sizes[part] for part in parts])
    return count


def _prompts(tokenizer: Tokenizer, ids: Sequence[int], context: int | None) -> dict[str, list[int]]:
    bos, word = list(tokenizer.bos), ids[1]
    longest = min(len(ids), (context or 2048) - len(bos) - ANSWER)
    prompts = {
        "empty": bos,
        "one token": [*bos, word],
        "one token 200 times": [*bos, *[word] * min(200, longest)],
        "longest": [*bos, *ids[:longest]],
    }
    return {name: one for name, one in prompts.items() if one}


def _write(folder: Path, windows: Sequence[Sequence[int]], sizes: Sequence[Sequence[int]]) -> None:
    folder.mkdir()
    data = {
        "ids": [i for window in windows for i in window],
        "bytes": [i for window in sizes for i in window],
    }
    (folder / "evaluation.json").write_text(json.dumps(data), "utf-8")
