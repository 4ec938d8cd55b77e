"""Functions that the olive tests run in the olive backend's environment."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from edgehone.backends.olive import backend
from edgehone.backends.sessions import WorkerJob
from edgehone.worker.conformance.generation_checks import compare_with_generate


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


def fail_and_go_on(job: WorkerJob) -> dict[str, Any]:
    """Let a request fail within the framework, together with another one, and ask again.

    The failure is one of guidance (0.18) with a character that the vocabulary has only as bytes.
    """
    from edgehone.backends.olive import engine as module
    from edgehone.backends.serving import EngineRequest

    usual = module._turn

    def guided(made: Any, request: EngineRequest) -> Any:
        turn = usual(made, request)
        if request.number == 1:
            turn.set_guidance("json_schema", json.dumps({"const": "\u6f22"}))
        return turn

    module._turn = guided
    engine = backend.open_engine(job.inputs["artifact"], {}, job, 2)
    ids = [int(i) for i in job.args["ids"]]

    def answered(*numbers: int) -> dict[int, tuple[list[int], str]]:
        found: dict[int, tuple[list[int], str]] = {number: ([], "") for number in numbers}
        for number in numbers:
            engine.add(EngineRequest(number, ids, 12))
        while engine.busy:
            for one in engine.step():
                made, _ = found[one.number]
                found[one.number] = ([*made, *one.ids], one.reason or "")
        return found

    before = answered(2)[2]
    failed = {number: reason for number, (_, reason) in answered(1, 2).items()}
    after = answered(2)[2]
    engine.close()
    return {"failed": sorted(failed.values()), "same": before == after, "reason": after[1]}
