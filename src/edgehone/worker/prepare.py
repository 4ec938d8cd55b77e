"""Tokenize all texts of a run once, with the original's own tokenizer (worker side).

Every backend gets these ids, so that differences between tokenizers do not affect the scores. A backend's own
tokenizer is checked separately, on a fixed sample text.
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
    """Convert the texts to token ids.

    args: backend (the module of the reference backend). inputs: model (folder or file), evaluation and calibration
    (text files), task (JSON lines, optional). Files:

        evaluation.json   {"ids": [...], "bytes": [number of UTF-8 bytes of each id]}, without BOS
        calibration/      ids.json (without BOS), bos.json (ids to put before each window), calibration.txt
        sample.json       [ids of SAMPLE, with the tokenizer's own BOS rule]
        task.json         [{"context": [ids], "choices": [[ids], ...], "answer": index}], without BOS

    Returns bos (ids that start a text), eos (ids that end a text), vocabulary, tokens ({"evaluation": n,
    "calibration": n}) and texts (SHA-256 of each text file). Raises ModelError for a tokenizer that does not work,
    TextError for an unusable text.
    """
    backend = require(load_backend(job), TokenizerBackend)
    tokenizer = backend.open_tokenizer(job.inputs["model"], job)
    job.progress(0.1, "evaluation text")
    ids, sizes = tokenizer.encode(read_text(job.inputs["evaluation"], "evaluation"))
    if not ids:
        raise ModelError("the tokenizer returns no token for the evaluation text")
    _write(job.out / "evaluation.json", {"ids": ids, "bytes": sizes})
    job.progress(0.5, "calibration text")
    calibration, _ = tokenizer.encode(read_text(job.inputs["calibration"], "calibration"))
    (job.out / "calibration").mkdir()
    _write(job.out / "calibration" / "ids.json", calibration)
    _write(job.out / "calibration" / "bos.json", tokenizer.bos)
    shutil.copyfile(job.inputs["calibration"], job.out / "calibration" / "calibration.txt")
    _write(job.out / "sample.json", tokenizer.tokenize(SAMPLE))
    if "task" in job.inputs:
        items = [tokenize_item(tokenizer, item) for item in read_task(job.inputs["task"])]
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


def tokenize_item(tokenizer: Tokenizer, item: dict[str, Any]) -> dict[str, Any]:
    """Tokenize the prompt of a task's item together with each of its choices, as a model would read them.

    The context is the common prefix of the prompt alone and of the prompt with each choice. If the first letters of
    a choice are merged into the prompt's last token, that token is scored with the choice. Raises TextError if the
    prompt has no context or a choice adds no token.
    """
    prompt_ids, _ = tokenizer.encode(item["prompt"])
    full_ids = [tokenizer.encode(item["prompt"] + choice)[0] for choice in item["choices"]]
    context = _common_prefix([prompt_ids, *full_ids])
    if not context and not tokenizer.bos:
        raise TextError(f"the prompt {item['prompt'][:60]!r} has no token before its choices")
    for ids, choice in zip(full_ids, item["choices"], strict=True):
        if len(ids) == context:
            raise TextError(f"the choice {choice[:60]!r} adds no token to the prompt {item['prompt'][:60]!r}")
    return {
        "context": prompt_ids[:context],
        "choices": [ids[context:] for ids in full_ids],
        "answer": item["answer"],
    }


def _common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Return the length of the longest common prefix."""
    length = 0
    for column in zip(*sequences, strict=False):
        if len(set(column)) > 1:
            break
        length += 1
    return length


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
