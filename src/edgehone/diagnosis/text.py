"""A diagnosis as text: what was found, by which evidence, and what to do, in order."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from edgehone.diagnosis.apply import Applied
from edgehone.diagnosis.causes import Cause
from edgehone.diagnosis.diagnose import Diagnosis
from edgehone.diagnosis.logs import Failure

_WIDTH = 100


def diagnosis_text(made: Diagnosis, *, everything: bool = False) -> str:
    """The diagnosis; with `everything` the causes that were excluded or left open too."""
    if made.about == "log":
        return "\n\n".join(_failure(one) for one in made.failures)
    parts = [_cause(one) for one in made.found]
    if not parts:
        parts = [f"Nothing that is known to go wrong is found in this {made.about} here."]
    open_ = [one for one in made.causes if one.found is None]
    excluded = [one for one in made.causes if one.found is False]
    if everything:
        parts += [_brief("Not known", open_), _brief("Excluded", excluded)]
    else:
        parts.append(f"{len(excluded)} other causes are excluded, {len(open_)} not known: --all shows them")
    return "\n\n".join(part for part in parts if part)


def applied_text(made: Sequence[Applied]) -> str:
    """What came of each remedy."""
    lines = []
    for one in made:
        settings = ", ".join(f"{name} = {value}" for name, value in one.settings.items())
        lines.append(f"{settings}: {'kept' if one.kept else 'not kept'}: {one.reason}")
    return "\n".join(lines)


def _cause(one: Cause) -> str:
    lines = [f"{one.symptom}: {one.name}", *_wrapped(one.says, "  ")]
    lines += [f"  evidence: {text}" for text in one.evidence]
    lines.append(f"  source:   {one.source}")
    for number, remedy in enumerate(one.remedies, 1):
        lines += _wrapped(remedy.says, f"  {number}. ")
        if remedy.settings:
            settings = ", ".join(f"{name} = {value}" for name, value in remedy.settings.items())
            lines.append(f"     --apply tries {settings}, and keeps it if {remedy.figure} gets better")
        if remedy.command:
            lines.append(f"     {remedy.command}")
    return "\n".join(lines)


def _failure(one: Failure) -> str:
    named = f" ({one.what})" if one.what else ""
    lines = [f"{one.symptom}: {one.name}{named}", *_wrapped(one.cause, "  ")]
    lines.append(f"  line {one.line}: {one.text}")
    lines.append(f"  seen with {', '.join(one.frameworks)}: {one.link}")
    for number, remedy in enumerate(one.remedies, 1):
        lines += _wrapped(remedy, f"  {number}. ")
    return "\n".join(lines)


def _brief(title: str, some: Sequence[Cause]) -> str:
    rows = [f"  {one.symptom}: {one.name} ({'; '.join(one.evidence)})" for one in some]
    return "\n".join([f"{title}:", *rows]) if rows else ""


def _wrapped(text: str, first: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))
