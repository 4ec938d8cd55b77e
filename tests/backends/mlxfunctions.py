"""Functions that the mlx tests run in the mlx backend's environment."""

from __future__ import annotations

from typing import Any

from edgehone.backends.mlx import backend
from edgehone.backends.sessions import WorkerJob


def probe(job: WorkerJob) -> dict[str, Any]:
    """Score and generate with one artifact."""
    import numpy as np

    ids = [int(i) for i in job.args["ids"]]
    session = backend.open_session(job.inputs["artifact"], job.args["settings"], job)
    made = session.generate(ids, 12)
    again = session.generate(ids, 12)
    stopped = session.generate(ids, 12, lambda token: token == made.ids[3])
    chunks = list(session.score(ids))
    logits = np.concatenate(list(session.score(ids + made.ids[:-1])))
    facts = {
        "chunks": [len(chunk) for chunk in chunks],
        "dtype": str(chunks[0].dtype),
        "repeatable": made.ids == again.ids,
        "ids": made.ids,
        "argmax": [int(i) for i in logits[len(ids) - 1 :].argmax(1)],
        "ordered": made.started < made.times[0] and made.times == sorted(made.times),
        "times": len(made.times),
        "stopped": stopped.ids,
        "text": session.detokenize(session.tokenize("Hello, café\n world")),
    }
    session.close()
    return facts


def compare(job: WorkerJob) -> dict[str, Any]:
    """Compare MLX's quantized kernels with the same weights as floats: mean KL and largest difference of
    log-probabilities.
    """
    import numpy as np

    logprobs = []
    for kernels in ({"kernels": "native"}, {}):
        session = backend.open_session(job.inputs["artifact"], {**job.args["settings"], **kernels}, job)
        logits = np.concatenate(list(session.score(job.args["ids"])))
        logprobs.append(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        session.close()
    own, floats = logprobs
    kl = (np.exp(own) * (own - floats)).sum(1).mean()
    return {"kl": float(kl), "largest": float(abs(own - floats).max())}
