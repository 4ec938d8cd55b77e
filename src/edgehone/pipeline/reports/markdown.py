"""Markdown for a pull request: a table of the stages, what failed, and the checks folded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgehone.pipeline.result import Result
from edgehone.pipeline.stage import Stage

# GitHub's comments have 65,536 characters at most.
_LONGEST, _SAID = 60_000, 400


def render(title: str, stages: Sequence[Stage], results: Mapping[str, Result]) -> str:
    """Return the text."""
    lines = [f"## Pipeline of {cell(title)}: {summary(stages, results)}", ""]
    lines += [f"{duration(list(results.values()))}.", ""] if results else []
    lines += ["| stage | result | time | found |", "| --- | --- | --- | --- |"]
    for stage in stages:
        result = results.get(stage.name)
        if result is None:
            lines.append(f"| {stage.name} | not run | | |")
            continue
        took = f"{result.seconds:.1f} s" if result.seconds else ""
        lines.append(f"| {stage.name} | {word_of(result)} | {took} | {cell(result.said)} |")
    for result in results.values():
        lines += _checks(result)
    text = "\n".join(lines) + "\n"
    return text if len(text) <= _LONGEST else text[:_LONGEST].rpartition("\n")[0] + "\n\n(cut)\n"


def summary(stages: Sequence[Stage], results: Mapping[str, Result]) -> str:
    """Return how the run came out, in a few words."""
    for outcome, words in (("failed", "failed in"), ("waiting", "waits for approval of")):
        names = [name for name, one in results.items() if one.outcome == outcome]
        if names:
            return f"{words} {', '.join(names)}"
    done = sum(one.passed for one in results.values())
    return "passed" if done == len(stages) else f"{done} of {len(stages)} stages have passed"


def duration(results: Sequence[Result]) -> str:
    """Return how long the stages took: those of this run, and those whose earlier result still holds."""
    new = sum(one.seconds for one in results if not one.skipped)
    kept = sum(one.seconds for one in results if one.skipped)
    text = f"The stages took {new:.1f} s"
    return f"{text}; those that were kept had taken {kept:.1f} s" if kept else text


def word_of(result: Result) -> str:
    """Return the outcome of a stage in a word or two."""
    return "passed before, unchanged" if result.skipped else result.outcome


def _checks(result: Result) -> list[str]:
    if not result.checks and not result.notes:
        return []
    failed = [one for one in result.checks if one.outcome == "failed"]
    lines = [
        "",
        f"<details{' open' if failed else ''}><summary>{result.stage}: {len(result.checks)} checks</summary>",
        "",
    ]
    if result.checks:
        lines += ["| check | result | found |", "| --- | --- | --- |"]
    ordered = sorted(result.checks, key=lambda one: one.outcome != "failed")
    lines += [f"| {cell(one.name)} | {one.outcome} | {cell(one.said)} |" for one in ordered]
    lines += ["", *(f"- {cell(note)}" for note in result.notes)] if result.notes else []
    return [*lines, "", "</details>"]


def cell(text: str) -> str:
    """Return a text as it may stand in a cell of a table: one line, with marks of Markdown and HTML escaped."""
    short = " ".join(text.split())
    short = short if len(short) <= _SAID else f"{short[: _SAID - 1]}…"
    return re.sub(
        r"([\\`*_\[\]|~@#])", r"\\\1", short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )
