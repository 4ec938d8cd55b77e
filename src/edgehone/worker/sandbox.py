"""What a chat template tries beyond writing a prompt (worker side).

A template comes with the model and is rendered in Jinja's sandbox. Here its syntax tree is searched for what only a
template that tries to leave the sandbox needs, and it is rendered under limits of memory and, by the parent, of time.
"""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.worker.chat_template import read_template, render, special_tokens

# Ways from an object of Python to its interpreter.
_ESCAPES = (
    "gi_frame",
    "gi_code",
    "cr_frame",
    "ag_frame",
    "f_globals",
    "func_globals",
    "f_builtins",
    "mro",
    "attr",
    "format_map",
)
# Statements that load other files.
_LOADS = ("Include", "Import", "FromImport", "Extends")


def inspect(job: WorkerJob) -> dict[str, Any]:
    """Return problems, and nodes (the number that were looked at). args: turns. inputs: tokenizer."""
    template = read_template(job.inputs["tokenizer"])
    assert template is not None
    problems, nodes = _tried(template)
    messages = [
        {"role": ("user", "assistant")[at % 2], "content": turn} for at, turn in enumerate(job.args["turns"])
    ]
    try:
        text = render(template, messages, special_tokens(job.inputs["tokenizer"]))
        if "<class '" in text or "<built-in" in text or " object at 0x" in text:
            problems.append("the template writes the representation of an object of Python")
    except EdgehoneError as error:
        problems.append(error.message)
    return {"problems": problems, "nodes": nodes}


def _tried(template: str) -> tuple[list[str], int]:
    import jinja2
    from jinja2 import nodes

    from edgehone.worker.chat_template import environment

    try:
        tree = environment().parse(template)
    except jinja2.TemplateError as error:
        return [f"the template is no template: {error}"], 0
    found, count = list[str](), 0
    for node in tree.find_all(nodes.Node):
        count += 1
        if type(node).__name__ in _LOADS:
            found.append(f"line {node.lineno}: the template loads another file")
        name = None
        if isinstance(node, nodes.Getattr):
            name = node.attr
        elif isinstance(node, nodes.Filter):
            name = node.name if node.name == "attr" else None
        elif isinstance(node, nodes.Const) and isinstance(node.value, str):
            name = node.value if node.value.startswith("__") else None
        if name is not None and (name.startswith("__") or name in _ESCAPES):
            found.append(f"line {node.lineno}: the template asks for {name!r}, a way out of its sandbox")
    return found, count
