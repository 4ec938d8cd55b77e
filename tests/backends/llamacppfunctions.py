"""Functions that the llamacpp tests run in its real environment."""

from __future__ import annotations

from typing import Any

from edgehone.backends import llamacpp, llamacpp_build
from edgehone.backends.base import WorkerJob
from edgehone.errors import EdgehoneError
from edgehone.measure.sample import SAMPLE


def compare(job: WorkerJob) -> dict[str, Any]:
    """The GGUF against transformers in float32: ids, divergence over 600 ids, greedy against scored."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.inputs["model"])
    original = AutoModelForCausalLM.from_pretrained(job.inputs["model"], dtype=torch.float32).eval()
    session = llamacpp.open_session(job.inputs["artifact"], job.args.get("settings", {}), job)
    sample = tokenizer(SAMPLE)["input_ids"]
    text = (job.inputs["calibration"] / "calibration.txt").read_text("utf-8")
    ids = tokenizer(text)["input_ids"][:600]
    chunks = list(session.score(ids))
    with torch.inference_mode():
        wanted = torch.log_softmax(original(torch.tensor([ids])).logits[0].double(), -1)
    got = torch.log_softmax(torch.tensor(np.concatenate(chunks)).double(), -1)
    prompt = ids[:50]
    made = session.generate(prompt, 40)
    scored = np.concatenate(list(session.score(prompt + made.ids)))
    stopped = session.generate(prompt, 40, lambda token: True)
    facts = {
        "same_ids": session.tokenize(SAMPLE) == sample,
        "text": session.detokenize(session.tokenize("Hello, café\n world")),
        "shape": [sum(len(chunk) for chunk in chunks), chunks[0].shape[1]],
        "chunks": len(chunks),
        "dtype": str(chunks[0].dtype),
        "kl": float((wanted.exp() * (wanted - got)).sum(1).mean()),
        "generated": len(made.ids),
        "greedy": made.ids == scored.argmax(1)[len(prompt) - 1 : -1].tolist(),
        "times_rise": made.started < made.times[0] and sorted(made.times) == made.times,
        "again": session.generate(prompt, 40).ids == made.ids,
        "stopped": stopped.ids == made.ids[:1],
    }
    session.close()
    return facts


def refusals(job: WorkerJob) -> dict[str, Any]:
    """What an opened session says to ids that it cannot take."""
    session = llamacpp.open_session(job.inputs["artifact"], {}, job)
    said = {}
    for name, ids in (("none", []), ("negative", [1, -1]), ("beyond", [1, 1 << 20])):
        try:
            list(session.score(ids))
        except EdgehoneError as error:
            said[name] = error.message
    session.close()
    session.close()
    return said


def damaged(job: WorkerJob) -> None:
    """Open what is no GGUF file."""
    (job.out / llamacpp_build.ARTIFACT).write_bytes(b"GGUF" + bytes(64))
    llamacpp.open_session(job.out, {}, job)


def unknown_cache(job: WorkerJob) -> None:
    """Ask for a KV cache that there is not."""
    llamacpp.open_session(job.inputs["artifact"], {"kv_cache": "q3"}, job)
