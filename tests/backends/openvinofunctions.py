"""Functions that the openvino tests run in its real environment."""

from __future__ import annotations

import sys
from typing import Any

from edgehone.backends import openvino
from edgehone.backends.base import WorkerJob


def probe(job: WorkerJob) -> dict[str, Any]:
    """Scores and generations of one artifact, and what each of the two loads."""
    import numpy as np

    ids = [int(i) for i in job.args["ids"]]
    settings = job.args["settings"]
    session = openvino.open_session(job.inputs["artifact"], settings, job)
    made = session.generate(ids, 12)
    alone = session._request is None
    again = session.generate(ids, 12)
    stopped = session.generate(ids, 12, lambda token: token == made.ids[3])
    chunks = list(session.score(ids))
    twice = np.concatenate(list(session.score(ids)))
    logits = np.concatenate(list(session.score(ids + made.ids[:-1])))
    facts = {
        "alone": alone,
        "torch": "torch" in sys.modules,
        "chunks": [len(chunk) for chunk in chunks],
        "dtype": str(chunks[0].dtype),
        "repeatable": bool(np.array_equal(np.concatenate(chunks), twice)) and made.ids == again.ids,
        "ids": made.ids,
        "argmax": [int(i) for i in logits[len(ids) - 1 :].argmax(1)],
        "ordered": made.started < made.times[0] and made.times == sorted(made.times),
        "times": len(made.times),
        "stopped": stopped.ids,
        "text": session.detokenize(session.tokenize("Hello, café\n world")),
        "kv_cache": session._scorer().get_compiled_model().get_property("KV_CACHE_PRECISION").to_string(),
    }
    session.close()
    return facts
