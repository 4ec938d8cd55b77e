"""Functions that the olive tests run in the olive backend's environment."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from edgehone.backends.olive import backend
from edgehone.backends.sessions import WorkerJob
from edgehone.worker.conformance.session_checks import compare_with_generate


def probe(job: WorkerJob) -> dict[str, Any]:
    """Score and generate with one artifact, and report what each of the two loads."""
    import numpy as np

    ids = [int(i) for i in job.args["ids"]]
    session = backend.open_session(job.inputs["artifact"], {}, job)
    made = session.generate(ids, 12)
    alone = session._runtime is None and "onnxruntime" not in sys.modules
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
        "together": compare_with_generate(session, [ids, ids[:15], [*ids[-3:], *ids[3:]]]),
        "text": session.detokenize(session.tokenize("Hello, café\n world")),
        "past_end": _past_end(job, ids, made.ids[3]),
    }
    session.close()
    return facts


def _past_end(job: WorkerJob, ids: list[int], token: int) -> list[int]:
    """Return what is generated if `token`, the fourth one to be generated, ends a text."""
    folder = Path(shutil.copytree(job.inputs["artifact"], job.out / "ended"))
    config = json.loads((folder / "genai_config.json").read_text("utf-8"))
    config["model"]["eos_token_id"] = token
    (folder / "genai_config.json").write_text(json.dumps(config), "utf-8")
    session = backend.open_session(folder, {}, job)
    made = session.generate(ids, 12)
    session.close()
    return made.ids
