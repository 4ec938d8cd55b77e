"""Answer the tasks for chat and check the answers (worker side)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import EdgehoneError
from edgehone.inputs import chat_tasks
from edgehone.worker.answer_checks import passes
from edgehone.worker.backend import load_backend
from edgehone.worker.text import Text

if TYPE_CHECKING:
    from edgehone.backends.sessions import WorkerJob


def answers(job: WorkerJob) -> dict[str, Any]:
    """Answer each task greedily in the model's chat template, and write answers.json: [{"text", "right", "kind"}].

    args: backend, settings, eos (ids that end an answer), length (its most tokens), context (the model's, or None).
    inputs: artifact, tokenizer, tasks. Returns tasks (number) and right. Raises EdgehoneError for a task that is longer
    than the context, or has a tool that neither its messages nor the template name.
    """
    session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
    tasks, ends = chat_tasks.read(job.inputs["tasks"]), set(job.args["eos"])
    length, context = job.args["length"], job.args["context"]
    found = []
    try:
        text = Text(job, session)
        _check_tools(text, tasks)
        for at, task in enumerate(tasks):
            ids = text.conversation(task["messages"], task["tools"])
            if context is not None and len(ids) + length > context:
                raise EdgehoneError(
                    f"task {at} has {len(ids)} tokens and its answer up to {length}; the model's context is {context}"
                )
            made = session.generate(ids, length, lambda token: token in ends).ids
            answer = text.decode(list(itertools.takewhile(lambda token: token not in ends, made)))
            (kind,) = task["check"]
            found.append({"text": answer, "right": passes(task["check"], answer), "kind": kind})
            job.progress((at + 1) / len(tasks), "tasks for chat")
    finally:
        session.close()
    (job.out / "answers.json").write_text(json.dumps(found), "utf-8")
    return {"tasks": len(found), "right": sum(one["right"] for one in found)}


def _check_tools(text: Text, tasks: Sequence[Mapping[str, Any]]) -> None:
    """Raise EdgehoneError for a task with a tool that its prompt does not name: the model could not call it.

    Templates that know no tools leave them out in silence.
    """
    for at, task in enumerate(tasks):
        inner = [tool.get("function", tool) for tool in task["tools"]]
        names = [str(one.get("name", "")) for one in inner if isinstance(one, dict)]
        prompt = text.rendered(task["messages"], task["tools"]) if names else ""
        if untold := [name for name in names if name not in prompt]:
            raise EdgehoneError(
                f"the model is not told of the tool {untold[0]!r} of task {at}: its chat template writes no tools",
                hint="describe the tools in a message of the task",
            )
