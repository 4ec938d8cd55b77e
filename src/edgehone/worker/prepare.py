"""Tokenize all texts of a run, once, with the original's own tokenizer (worker side).

Every backend is then fed these ids, so that none is judged by how it tokenizes; that is judged by itself, on
the fixed sample.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.capabilities import TokenizerBackend, require
from edgehone.backends.sessions import Tokenizer, WorkerJob
from edgehone.core.errors import ModelError, TextError
from edgehone.inputs.texts import read_task, read_text
from edgehone.model.digest import digest_file
from edgehone.worker.backend import load_backend
from edgehone.worker.tokenizer_sample import SAMPLE


def prepare(job: WorkerJob) -> dict[str, Any]:
    """Turn the texts into token ids.

    args: backend (the module of the reference backend). inputs: model (folder or file), evaluation and calibration
    (text files), task (JSON lines, optional). Files:
        evaluation.json   {"ids": [...], "bytes": [UTF-8 bytes that each id covers]}, without BOS
        calibration/      ids.json (without BOS), bos.json (ids to put in front of a window), calibration.txt
        sample.json       [ids of SAMPLE, with the tokenizer's own BOS rule]
        task.json         [{"context": [ids], "choices": [[ids], ...], "answer": index}], without BOS
    Returns bos (ids put in front), eos (ids that end a text), vocabulary, tokens ({"evaluation": n,
    "calibration": n}) and texts (SHA-256 of each text file).
    Raises ModelError for a tokenizer that does not work, TextError for a text.
    """
    backend = require(load_backend(job), TokenizerBackend)
    tokenizer = backend.open_tokenizer(job.inputs["model"], job)
    job.progress(0.1, "evaluation text")
    ids, sizes = tokenizer.encode(read_text(job.inputs["evaluation"], "evaluation"))
    if not ids:
        raise ModelError("the tokenizer turns the evaluation text into no token at all")
    _write(job.out / "evaluation.json", {"ids": ids, "bytes": sizes})
    job.progress(0.5, "calibration text")
    calibration, _ = tokenizer.encode(read_text(job.inputs["calibration"], "calibration"))
    (job.out / "calibration").mkdir()
    _write(job.out / "calibration" / "ids.json", calibration)
    _write(job.out / "calibration" / "bos.json", tokenizer.bos)
    shutil.copyfile(job.inputs["calibration"], job.out / "calibration" / "calibration.txt")
    _write(job.out / "sample.json", tokenizer.tokenize(SAMPLE))
    if "task" in job.inputs:
        items = [_item(tokenizer, item) for item in read_task(job.inputs["task"])]
        _write(job.out / "task.json", items)
    tokens = {"evaluation": len(ids), "calibration": len(calibration)}
    texts = {name: digest_file(path) for name, path in job.inputs.items() if name != "model"}
    return {
        "bos": tokenizer.bos,
        "eos": tokenizer.eos,
        "vocabulary": tokenizer.vocabulary,
        "tokens": tokens,
        "texts": texts,
    }


def _item(tokenizer: Tokenizer, item: dict[str, Any]) -> dict[str, Any]:
    """Prompt and choice are tokenized together, as a model would see them.

    The context is what the prompt alone and the prompt with each choice have in common; where a choice's
    first letters melt into the prompt's last token, that token is scored with the choice.
    """
    alone, _ = tokenizer.encode(item["prompt"])
    whole = [tokenizer.encode(item["prompt"] + choice)[0] for choice in item["choices"]]
    shared = _common([alone, *whole])
    if not shared and not tokenizer.bos:
        raise TextError(f"the prompt {item['prompt'][:60]!r} gives no token in front of its choices")
    for ids, choice in zip(whole, item["choices"], strict=True):
        if len(ids) == shared:
            raise TextError(f"the choice {choice[:60]!r} adds no token to the prompt {item['prompt'][:60]!r}")
    return {"context": alone[:shared], "choices": [ids[shared:] for ids in whole], "answer": item["answer"]}


def _common(sequences: Sequence[Sequence[int]]) -> int:
    """The length of the prefix that all have in common."""
    length = 0
    for column in zip(*sequences, strict=False):
        if len(set(column)) > 1:
            break
        length += 1
    return length


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
