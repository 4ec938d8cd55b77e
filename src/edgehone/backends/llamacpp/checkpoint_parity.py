"""Prove that the checkpoint of a GGUF file computes what libllama computes from the file (worker side).

libllama rounds the inputs of quantized matrices to 8 bits and those of F16 ones to 16, which would hide small errors.
So it runs a copy of the file whose tensors are all float32, which has the same values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp.build import to_floats
from edgehone.backends.llamacpp.gptq_work import WINDOW
from edgehone.backends.llamacpp.session import LlamaSession
from edgehone.backends.llamacpp.tools import toolchain_of
from edgehone.backends.pytorch import streamed
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import ModelError, TextError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Windows of the calibration text, as long as those of GPTQ, and the positions that are compared: every `_STRIDE`-th.
_WINDOWS = 2
_STRIDE = 16
# Both compute in float32, but for the cache of keys and values in 16 bits. Tiny models of all architectures differed by
# less than 1e-6 nats. A wrong rotary base of some layers costs 0.01 nats or more, as in requirements.toml.
MOST_NATS = 1e-4


def prove(job: WorkerJob, path: Path) -> dict[str, Any]:
    """Compare the checkpoint in out/ with the GGUF file at `path` on the calibration text.

    Facts: checkpoint_kl (mean divergence in nats per token), checkpoint_tokens (positions compared). Raises ModelError
    if they differ, or if the checkpoint cannot be run block by block.
    """
    try:
        stream = streamed.open_stream(job.out)
    except streamed.NotStreamable as reason:
        raise ModelError(f"the model cannot be run block by block: {reason}") from reason
    windows = _windows(job, stream.model.config.max_position_embeddings)
    ours = _checkpoint(stream, windows)
    floats = job.out / "float32.gguf"
    to_floats(job, path, floats)
    try:
        divergences = _divergences(job, floats, windows, ours)
    finally:
        floats.unlink()
    mean = sum(divergences) / len(divergences)
    if not mean <= MOST_NATS:
        raise ModelError(
            "the checkpoint of the file does not compute what llama.cpp computes: they differ by "
            f"{mean:.2g} nats a token (limit {MOST_NATS:g})",
            hint="use the recipes without GPTQ, or give the float original",
        )
    return {"checkpoint_kl": mean, "checkpoint_tokens": len(divergences)}


def _windows(job: WorkerJob, context: int) -> list[list[int]]:
    ids: list[int] = json.loads((job.inputs["calibration"] / "ids.json").read_text("utf-8"))
    bos: list[int] = json.loads((job.inputs["calibration"] / "bos.json").read_text("utf-8"))
    step = max(1, min(WINDOW, context) - len(bos))
    windows = [bos + ids[at : at + step] for at in range(0, min(len(ids), _WINDOWS * step), step)]
    if not windows:
        raise TextError("the calibration text has no tokens", hint="give a longer text with --calibrate FILE")
    return windows


def _checkpoint(stream: streamed.LayerStream, windows: Sequence[Sequence[int]]) -> list[Any]:
    """Return what the head gets at the compared positions of each window."""
    with streamed.without_gradients():
        hidden = [stream.embedded(ids) for ids in windows]
        for number in range(len(stream.blocks)):
            with stream.resident(number):
                hidden = [stream.run(number, one) for one in hidden]
        return [_log(stream.logits(stream.normalized(one)[:, ::_STRIDE])[0].numpy()) for one in hidden]


def _divergences(
    job: WorkerJob, path: Path, windows: Sequence[Sequence[int]], ours: Sequence[Floats]
) -> list[float]:
    import numpy as np

    session = LlamaSession(toolchain_of(job).binding(), path, {}, job.threads)
    found: list[float] = []
    try:
        for ids, mine in zip(windows, ours, strict=True):
            at = 0
            for part in session.score(ids):
                places = [row for row in range(len(part)) if (at + row) % _STRIDE == 0]
                theirs = _log(part[places])
                first = len(range(0, at, _STRIDE))
                expected = mine[first : first + len(places)]
                found += (np.exp(theirs) * (theirs - expected)).sum(-1).tolist()
                at += len(part)
    finally:
        session.close()
    return found


def _log(logits: Any) -> Floats:
    """Return log-probabilities in float64."""
    import numpy as np

    values = logits.astype(np.float64)
    values -= values.max(-1, keepdims=True)
    log: Floats = values - np.log(np.exp(values).sum(-1, keepdims=True))
    return log
