"""Conversations in the model's chat template, answered once by the original (worker side).

Candidates are scored on the tokens of these answers, each after the same conversation and the answer so far, so that
they are compared where a user reads: in what the assistant says.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import TokenizerBackend, require
from edgehone.backends.sessions import Session, Tokenizer, WorkerJob
from edgehone.core.errors import EdgehoneError, ModelError
from edgehone.inputs import conversations
from edgehone.worker import long_chats
from edgehone.worker.backend import load_backend
from edgehone.worker.chat_template import read_template, render, shaped, special_tokens
from edgehone.worker.long_chats import Answered

if TYPE_CHECKING:
    from edgehone.inputs.conversations import Messages

FILE = "conversations.json"
# One conversation in so many is used for calibration.
_SHARE = 5


def tokenized(tokenizer: Tokenizer, folder: Path, path: Path) -> list[dict[str, Any]]:
    """Return for each conversation of a file its `prompt` and, if it ends with one, its `answer`, as ids.

    `messages` are those of the prompt.

    `folder` is the tokenizer's, with the chat template. Raises ModelError if it has none or cannot render one.
    """
    template = read_template(folder)
    if template is None:
        raise ModelError(
            "the model has no chat template, so it has no conversations",
            hint="leave --chat out: it is then evaluated on text",
        )
    special = special_tokens(folder)

    def ids_of(messages: Messages) -> list[int]:
        return tokenizer.encode(render(template, shaped(template, messages, special), special))[0]

    found = []
    for messages in conversations.read(path):
        answered = messages[-1]["role"] == "assistant"
        asked = messages[:-1] if answered else messages
        answer = tokenizer.encode(messages[-1]["content"])[0] if answered else []
        found.append({"prompt": ids_of(asked), "answer": answer, "messages": asked})
    return found


def answers(job: WorkerJob) -> dict[str, Any]:
    """Answer conversations greedily, and write those to score and those to calibrate with.

    args: backend, settings, eos (ids that end a text), count (the most conversations to score), length (the most tokens
    of an answer), context (the model's, or None), whole (the context that long chats are to cover). inputs: artifact,
    model, prepared (with conversations.json and calibration). Files: conversations.json, [{"ids", "start" (the first id
    of the answer), "bytes" (UTF-8 bytes of each id of the answer)}], long.json (`worker.long_chats`), and the folder
    calibration: the other conversations, followed by the calibration text. Returns scored, calibration (numbers),
    tokens (scored), and left_out, the number of conversations that are too long or have an empty answer. Raises
    EdgehoneError if too few are left.
    """
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
    given = json.loads((job.inputs["prepared"] / FILE).read_text("utf-8"))
    scored: list[dict[str, Any]] = []
    turns: list[Answered] = []
    others: list[list[int]] = []
    left_out = 0
    for at, one in enumerate(given):
        calibrates = at % _SHARE == _SHARE - 1
        if len(scored) >= job.args["count"] and not calibrates:
            continue
        answer = _answer(session, one, job)
        if not answer:
            left_out += 1
        elif calibrates:
            others.append([*one["prompt"], *answer])
        else:
            sizes = _sizes(session, answer)
            scored.append({"ids": [*one["prompt"], *answer], "start": len(one["prompt"]), "bytes": sizes})
            turns.append(_turn(session, one["messages"], answer, sizes, job.args["eos"]))
        job.progress((at + 1) / len(given), "answers of the original")
    texts = [str(session.detokenize(ids)) for ids in others]
    chats = _long_chats(job, session, scored, turns)
    session.close()
    if len(scored) < conversations.MIN_CONVERSATIONS * (_SHARE - 1) // _SHARE:
        raise EdgehoneError(
            f"the original answers {len(scored)} of {len(given)} conversations; {left_out} are too long, or it says "
            "nothing",
            hint="give more or shorter ones with --chat FILE",
        )
    (job.out / FILE).write_text(json.dumps(scored), "utf-8")
    (job.out / long_chats.FILE).write_text(json.dumps(chats), "utf-8")
    _write_calibration(job, others, texts)
    tokens = sum(len(one["bytes"]) for one in scored)
    return {"scored": len(scored), "calibration": len(others), "tokens": tokens, "left_out": left_out}


def _answer(session: Session, one: dict[str, Any], job: WorkerJob) -> list[int]:
    """Return the answer that is given, or the original's up to its end; [] for a conversation that is too long."""
    length, context, ends = job.args["length"], job.args["context"], set(job.args["eos"])
    if context is not None and len(one["prompt"]) + length > context:
        return []
    if one["answer"]:
        return list(one["answer"][:length])
    ids = session.generate(one["prompt"], length, lambda token: token in ends).ids
    # The id that ends the answer is a decision of the model, too, so it is scored.
    answer = list(itertools.takewhile(lambda token: token not in ends, ids))
    return [int(token) for token in ids[: len(answer) + 1]] if answer else []


def _turn(
    session: Session, messages: Messages, answer: Sequence[int], sizes: Sequence[int], ends: Sequence[int]
) -> Answered:
    """Return a conversation as a turn of a long chat, whose template writes the end of the answer by itself."""
    end = answer[-1] if answer[-1] in ends else None
    said = answer if end is None else answer[:-1]
    return Answered(messages, said, str(session.detokenize(said)), sizes[: len(said)], end)


def _long_chats(
    job: WorkerJob, session: Session, scored: Sequence[dict[str, Any]], turns: Sequence[Answered]
) -> dict[str, Any]:
    """Return the chats of the whole context, unless the conversations themselves reach as far."""
    if long_chats.covers(scored, job.args["whole"]):
        return long_chats.none(job.args["whole"])
    tokenizer = require(load_backend(job), TokenizerBackend).open_tokenizer(job.inputs["model"], job)
    text = json.loads((job.inputs["prepared"] / "evaluation.json").read_text("utf-8"))["ids"]
    folder = job.inputs["prepared"] / "tokenizer"
    return long_chats.made(
        turns,
        job.args["whole"],
        tokenizer,
        folder,
        lambda begin, end: str(session.detokenize(text[begin:end])),
    )


def _sizes(session: Session, answer: Sequence[int]) -> list[int]:
    """Return the UTF-8 bytes that each id adds to the text."""
    ends = [len(str(session.detokenize(answer[:at])).encode()) for at in range(len(answer) + 1)]
    return [max(0, after - before) for before, after in itertools.pairwise(ends)]


def _write_calibration(job: WorkerJob, others: Sequence[Sequence[int]], texts: Sequence[str]) -> None:
    source, folder = job.inputs["prepared"] / "calibration", job.out / "calibration"
    folder.mkdir()
    ids = [token for conversation in others for token in conversation]
    ids += json.loads((source / "ids.json").read_text("utf-8"))
    (folder / "ids.json").write_text(json.dumps(ids), "utf-8")
    (folder / "bos.json").write_text((source / "bos.json").read_text("utf-8"), "utf-8")
    text = (source / "calibration.txt").read_text("utf-8")
    (folder / "calibration.txt").write_text("\n\n".join([*texts, text]), "utf-8")
