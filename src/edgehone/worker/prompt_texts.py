"""The texts of prompts that are known by their ids (worker side)."""

from __future__ import annotations

import json
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.worker.text import RuntimeTokenizer, Text


def texts(job: WorkerJob) -> dict[str, Any]:
    """Decode prompts with the tokenizer that made their ids, without special tokens.

    args: backend, settings. inputs: artifact, prompts (a JSON file with lists of ids), optionally tokenizer (the folder
    in a bundle). Writes texts.json, a list with the text of each. Returns their number.
    """
    session = RuntimeTokenizer(job)
    text = Text(job, session)
    if text.source == "runtime":
        session.open()
    prompts = json.loads(job.inputs["prompts"].read_text("utf-8"))
    found = [text.decode(ids) for ids in prompts]
    (job.out / "texts.json").write_text(json.dumps(found), "utf-8")
    return {"prompts": len(found)}
