"""What a bundle's chat template and tokenizer make of a conversation (worker side)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.worker.backend import load_backend
from edgehone.worker.text import Text

# Turns of user and assistant, as checks give them to a template.
TURNS = ["What is the capital of France?", "Paris.", "And of Italy?"]
# Control tokens as templates write them: <|im_end|>, <end_of_turn>, [/INST], </s>.
_CONTROL = re.compile(r"<\|?[A-Za-z_/][A-Za-z0-9_/|-]*\|?>|\[/?[A-Z_]+\]")


def describe(job: WorkerJob) -> dict[str, Any]:
    """Render turns of a conversation, tokenize it, and answer it.

    args: backend, settings, turns (texts of user and assistant in turn), eos. inputs: artifact, tokenizer. Returns ids
    and problems: a template that fails or loses a turn, a control token that is several ids, no id that ends a text.
    """
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
    text = Text(job, session)
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": turn} for at, turn in enumerate(job.args["turns"])]
    try:
        ids = text.conversation(messages)
    except EdgehoneError as error:
        session.close()
        return {"ids": [], "problems": [error.message]}
    stream = text.stream()
    written = "".join([stream.add(one) for one in ids] + [stream.finish()])
    problems = [
        f"the template leaves out the turn {turn!r}"
        for turn in job.args["turns"]
        if _bare(turn) not in _bare(written)
    ]
    problems += _split(job.inputs["tokenizer"], ids, text)
    if not job.args["eos"]:
        problems.append("no id ends a text, so no answer ends by itself")
    answer = [int(i) for i in session.generate(ids, 8).ids]
    if not answer:
        problems.append("the conversation gets no answer")
    session.close()
    return {"ids": ids, "answer": answer, "problems": problems}


def _split(folder: Path, ids: list[int], text: Text) -> list[str]:
    """Return the special tokens of the tokenizer that the template writes and that are not one id."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return []
    added = json.loads(path.read_text("utf-8")).get("added_tokens", [])
    known = {one["content"]: one["id"] for one in added if one.get("special")}
    plain = b"".join(text.token_bytes(one) for one in ids if one not in known.values()).decode(
        "utf-8", "replace"
    )
    return [
        f"the control token {found!r} of the template is several ids"
        for found in set(_CONTROL.findall(plain))
        if found in known
    ]


def _bare(text: str) -> str:
    return re.sub(r"\W+", "", text)
