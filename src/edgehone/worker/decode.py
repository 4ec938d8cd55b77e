"""Texts that an encoder-decoder generates (worker side): greedily, by the model's generation_config.json."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared.encoder_decoder import EncoderDecoderSession, Parts
from edgehone.core.errors import JobError
from edgehone.inputs import samples
from edgehone.inputs.batches import Batches
from edgehone.model.encoder_decoder import IDS, MASK, Decoding
from edgehone.worker.backend import load_backend
from edgehone.worker.original_tokenizer import OriginalTokenizer
from edgehone.worker.stable_text import StableText

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


def greedy(
    parts: Parts,
    source: Arrays,
    decoding: Decoding,
    limit: int | None = None,
    on_token: Callable[[int], None] = lambda token: None,
) -> tuple[list[int], list[int]]:
    """Return the ids that begin the text of one sample, and the likeliest ids after them; eos is the last if reached.

    `limit` is the largest number of generated ids; `on_token` gets each of them.
    """
    import numpy as np

    begun, generated = list(decoding.start), list[int]()
    parts.begin(source)
    for token in begun:  # one after another, as the session runs them whose logits are compared
        logits = parts.step(np.array([[token]], np.int64))[0, -1]
    language = [max(decoding.languages, key=lambda one: float(logits[one]))] if decoding.languages else []
    for token in (*language, *decoding.task):
        begun.append(token)
        logits = parts.step(np.array([[token]], np.int64))[0, -1]
    most = decoding.longest - len(begun) if limit is None else min(limit, decoding.longest - len(begun))
    while len(generated) < most:
        forbidden = [*decoding.suppressed, *(() if generated else decoding.first_suppressed)]
        allowed = np.array(logits)
        allowed[[one for one in forbidden if one < len(allowed)]] = -np.inf
        generated.append(int(allowed.argmax()))
        on_token(generated[-1])
        if generated[-1] in decoding.eos or len(generated) == most:
            break
        logits = parts.step(np.array([generated[-1:]], np.int64))[0, -1]
    return begun, generated


def with_texts(session: object, arrays: Arrays, decoding: Decoding) -> dict[str, NDArray[Any]]:
    """Return the arrays with the decoder's inputs: for each sample the ids of the text that the session generates.

    The last id of a text is not among them, since nothing is predicted after it.
    """
    import numpy as np

    parts = _parts(session)
    rows = []
    for at in range(len(next(iter(arrays.values())))):
        begun, generated = greedy(parts, _one(arrays, at), decoding)
        rows.append([*begun, *generated[:-1]])
    # Batches cut padding by the length of a text encoder's input, which must not be mistaken for that of the decoder's.
    widths = {array.shape[1] for array in arrays.values()}
    longest = next(n for n in range(max(map(len, rows)), 1 << 30) if n not in widths)
    ids, mask = (np.zeros((len(rows), longest), np.int64) for _ in range(2))
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)] = row, 1
    return {**arrays, IDS: ids, MASK: mask}


def texts(job: WorkerJob) -> dict[str, Any]:
    """Write texts.json: the text that the artifact generates for each evaluation sample.

    args: backend, settings, decoding. inputs: artifact, samples (what `prepare_graph` wrote), tokenizer. Returns
    samples (number) and tokens (generated in all).
    """
    batches = Batches.read(job.inputs["samples"])
    sources = {name: array for name, array in batches.arrays.items() if name not in (IDS, MASK)}
    tokenizer = OriginalTokenizer(job.inputs["tokenizer"])
    decoding = Decoding.from_json(job.args["decoding"])
    session = _open(job)
    found, tokens = [], 0
    try:
        for at in range(batches.count):
            _, generated = greedy(_parts(session), _one(sources, at), decoding)
            found.append(tokenizer.detokenize(generated))
            tokens += len(generated)
            job.progress((at + 1) / batches.count, "texts")
    finally:
        session.close()
    (job.out / "texts.json").write_text(json.dumps(found), "utf-8")
    return {"samples": len(found), "tokens": tokens}


def answer(job: WorkerJob) -> dict[str, Any]:
    """Generate the text of one sound or text, and print it as it is generated.

    args: backend, settings, decoding, limit, and prompt (a text) unless inputs has samples (an npz file with the
    encoder's inputs of one sample). inputs: artifact, tokenizer. Returns text, tokens, seconds, and the seconds to the
    first token, ttft_s.
    """
    import numpy as np

    tokenizer = OriginalTokenizer(job.inputs["tokenizer"])
    if "samples" in job.inputs:
        source = samples.read_arrays(job.inputs["samples"])
    else:
        ids = np.array([tokenizer.tokenize(job.args["prompt"])], np.int64)
        source = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    session = _open(job)
    times: list[float] = []
    shown = StableText(tokenizer.detokenize)

    def show(token: int) -> None:
        times.append(time.perf_counter())
        _write(shown.add(token))

    try:
        started = time.perf_counter()
        decoding = Decoding.from_json(job.args["decoding"])
        _, generated = greedy(_parts(session), source, decoding, job.args["limit"], show)
    finally:
        session.close()
    _write(shown.finish() + "\n")
    return {
        "text": tokenizer.detokenize(generated),
        "tokens": len(generated),
        "ended": bool(generated) and generated[-1] in decoding.eos,
        "ttft_s": times[0] - started if times else None,
        "seconds": times[-1] - started if times else None,
    }


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _open(job: WorkerJob) -> Any:
    backend = require(load_backend(job), GraphBackend)
    return backend.open_graph(job.inputs["artifact"], job.args["settings"], job)


def _parts(session: object) -> Parts:
    if not isinstance(session, EncoderDecoderSession):
        raise JobError(f"{type(session).__name__} does not generate texts")
    return session.parts


def _one(arrays: Arrays, at: int) -> dict[str, NDArray[Any]]:
    """Return one sample, without the padding of a text."""
    import numpy as np

    rows = {name: array[at : at + 1] for name, array in arrays.items()}
    if (mask := rows.get("attention_mask")) is None:
        return rows
    used = max(1, int(np.asarray(mask).sum()))
    return {name: array[:, :used] for name, array in rows.items()}
