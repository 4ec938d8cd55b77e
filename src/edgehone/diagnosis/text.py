"""A diagnosis as text: causes, their evidence, and remedies in order."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from edgehone.diagnosis.apply import Applied
from edgehone.diagnosis.causes import Cause
from edgehone.diagnosis.diagnose import Diagnosis
from edgehone.diagnosis.logs import Failure

_WIDTH = 100


def diagnosis_text(diagnosis: Diagnosis, *, everything: bool = False) -> str:
    """Return the diagnosis as text; with `everything`, excluded and undetermined causes too."""
    if diagnosis.about == "log":
        return "\n\n".join(_failure(one) for one in diagnosis.failures)
    parts = [_cause(one) for one in diagnosis.found]
    if not parts:
        parts = [f"No known problem was found in this {diagnosis.about} on this machine."]
    undetermined = [one for one in diagnosis.causes if one.found is None]
    excluded = [one for one in diagnosis.causes if one.found is False]
    if everything:
        parts += [_brief("Undetermined", undetermined), _brief("Excluded", excluded)]
    else:
        parts.append(
            f"{len(excluded)} other causes are excluded, {len(undetermined)} undetermined: --all shows them"
        )
    return "\n\n".join(part for part in parts if part)


def applied_text(outcomes: Sequence[Applied]) -> str:
    """Return the outcome of each remedy as text."""
    lines = []
    for one in outcomes:
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
            lines.append(f"     --apply tries {settings} and keeps it if {remedy.figure} improves")
        if remedy.command:
            lines.append(f"     {remedy.command}")
    return "\n".join(lines)


def _failure(one: Failure) -> str:
    named = f" ({one.what})" if one.what else ""
    lines = [f"{one.symptom}: {one.name}{named}", *_wrapped(one.cause, "  ")]
    lines.append(f"  line {one.line}: {one.text}")
    lines.append(f"  known from {', '.join(one.frameworks)}: {one.link}")
    for number, remedy in enumerate(one.remedies, 1):
        lines += _wrapped(remedy, f"  {number}. ")
    return "\n".join(lines)


def _brief(title: str, some: Sequence[Cause]) -> str:
    rows = [f"  {one.symptom}: {one.name} ({'; '.join(one.evidence)})" for one in some]
    return "\n".join([f"{title}:", *rows]) if rows else ""


def _wrapped(text: str, first: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))
