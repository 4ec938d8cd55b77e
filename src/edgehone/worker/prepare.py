"""Tokenize all texts of a run once, with the original's own tokenizer (worker side).

Every backend gets these ids, so that differences between tokenizers do not affect the scores, and `edgehone run` feeds
ids of the same tokenizer. A backend's own tokenizer is compared on the texts in parity.json.
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
from edgehone.worker import conversations
from edgehone.worker.backend import load_backend
from edgehone.worker.chat_template import read_template, render, special_tokens
from edgehone.worker.original_tokenizer import OriginalTokenizer
from edgehone.worker.tokenizer_sample import CONVERSATION, PLAIN, SPECIAL

# Characters of the evaluation text on which a backend's own tokenizer is compared: some 50,000 ids.
PARITY_CHARACTERS = 200_000


def prepare(job: WorkerJob) -> dict[str, Any]:
    """Convert the texts to token ids.

    args: backend (the module of the reference backend). inputs: model (folder or file), evaluation and calibration
    (text files), task and chat (JSON lines, optional). Files:

        evaluation.json   {"ids": [...], "bytes": [number of UTF-8 bytes of each id]}, without BOS
        calibration/      ids.json (without BOS), bos.json (ids to put before each window), calibration.txt
        parity.json       [{"kind": "evaluation", "plain", "special" or "template", "text": str, "ids": [...]}],
                          with the tokenizer's own BOS rule
        tokenizer/        what `edgehone run` needs to tokenize as the original does (`Tokenizer.save`)
        conversations.json    [{"prompt": [ids], "answer": [ids]}], with what the chat template writes
        task.json         [{"context": [ids], "choices": [[ids], ...], "answer": index}], without BOS

    Returns bos (ids that start a text), eos (ids that end a text), vocabulary, tokens ({"evaluation": n,
    "calibration": n}), texts (SHA-256 of each text file), portable (tokenizer/ has a tokenizer.json) and notes. Raises
    ModelError for a tokenizer that does not work, TextError for an unusable text.
    """
    backend = require(load_backend(job), TokenizerBackend)
    tokenizer = backend.open_tokenizer(job.inputs["model"], job)
    job.progress(0.1, "evaluation text")
    text = read_text(job.inputs["evaluation"], "evaluation")
    ids, sizes = tokenizer.encode(text)
    if not ids:
        raise ModelError("the tokenizer returns no token for the evaluation text")
    _write(job.out / "evaluation.json", {"ids": ids, "bytes": sizes})
    job.progress(0.5, "calibration text")
    calibration, _ = tokenizer.encode(read_text(job.inputs["calibration"], "calibration"))
    (job.out / "calibration").mkdir()
    _write(job.out / "calibration" / "ids.json", calibration)
    _write(job.out / "calibration" / "bos.json", tokenizer.bos)
    shutil.copyfile(job.inputs["calibration"], job.out / "calibration" / "calibration.txt")
    folder = job.out / "tokenizer"
    folder.mkdir()
    tokenizer.save(folder)
    template, notes = _rendered(folder)
    parity = _parity_texts(tokenizer, text[:PARITY_CHARACTERS], template)
    _write(job.out / "parity.json", parity)
    portable = _is_portable(folder, parity)
    if "chat" in job.inputs:
        _write(job.out / conversations.FILE, conversations.tokenized(tokenizer, folder, job.inputs["chat"]))
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
        "portable": portable,
        "notes": notes,
    }


def _rendered(folder: Path) -> tuple[list[str], list[str]]:
    """Return the chat template of a short conversation (none without a template), and notes on one that fails."""
    template = read_template(folder)
    if template is None:
        return [], []
    try:
        return [render(template, CONVERSATION, special_tokens(folder))], []
    except ModelError as error:
        return [], [error.message]


def _is_portable(folder: Path, parity: list[dict[str, Any]]) -> bool:
    """Return whether tokenizer.json in `folder` gives the original's ids. Remove it if it does not."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return False
    found = OriginalTokenizer(folder)
    if all(found.tokenize(one["text"]) == one["ids"] for one in parity):
        return True
    path.unlink()
    return False


def _parity_texts(tokenizer: Tokenizer, evaluation: str, template: list[str]) -> list[dict[str, Any]]:
    texts = [("evaluation", evaluation), ("plain", PLAIN)]
    texts += [("special", one) for one in SPECIAL] + [("template", one) for one in template]
    return [{"kind": kind, "text": text, "ids": tokenizer.tokenize(text)} for kind, text in texts]


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
