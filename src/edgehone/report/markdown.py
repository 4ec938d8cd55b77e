"""A decision as Markdown, short enough for a comment on a pull request: a sentence, a table, and folded details."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgehone.decision.decision import Candidate
from edgehone.report.explain import losses
from edgehone.report.figures import interval_of, label, value_of
from edgehone.report.findings import Findings

# The columns of the table; those that no candidate has are left out.
_COLUMNS = (
    "workload_latency_ms",
    "decode_tokens_per_s",
    "kl_mean",
    "against_kl_mean",
    "relative_error",
    "accuracy_kept",
    "peak_memory_bytes",
    "bytes",
)
_WITH_INTERVAL = ("workload_latency_ms", "accuracy_kept")
# Candidates in the table; the others are folded.
_FIRST = 5
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~@&-])")


def markdown(bundles: Sequence[Findings]) -> str:
    """Return all bundles as Markdown, one below the other."""
    return "\n".join(_bundle(findings) for findings in bundles)


def _bundle(findings: Findings) -> str:
    decision = findings.decision
    measured = [one for one in findings.ordered if one.status == "ok"]
    names = [n for n in _COLUMNS if any(one.figure(n).value is not None for one in measured)]
    lines = [
        f"### edgehone: {_plain(findings.name)}",
        "",
        _plain(decision.reason or "No decision can be read."),
        "",
    ]
    if findings.problems:
        lines += ["> [!WARNING]", *(f"> {_plain(problem)}  " for problem in findings.problems[:_FIRST])]
        left = len(findings.problems) - _FIRST
        lines += [*([f"> and {left} more"] if left > 0 else []), ""]
    lines += _table([decision.baseline, *measured[:_FIRST]], names, findings)
    if rest := measured[_FIRST:]:
        lines += ["", *_folded(f"{len(rest)} more candidates", _table(rest, names, findings))]
    if lost := [f"- {_plain(key)}: {_plain(why)}" for key, why in losses(decision).items()]:
        lines += ["", *_folded("Why other candidates lost", lost)]
    if decision.notes:
        lines += ["", *_folded("Conditions and notes", [f"- {_plain(note)}" for note in decision.notes])]
    if findings.command:
        lines += ["", *_folded("How to reproduce", ["```sh", findings.command.replace("`", "'"), "```"])]
    return "\n".join([*lines, ""])


def _table(candidates: Sequence[Candidate], names: Sequence[str], findings: Findings) -> list[str]:
    units = {
        n: next((f.unit for one in candidates if (f := one.figure(n)).value is not None), "") for n in names
    }
    head = ["candidate", *(label(n, units[n]) for n in names), ""]
    rows = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * len(names)} --- |"]
    for one in candidates:
        cells = [_cell(one, name) for name in names]
        key = f"**{_plain(one.key)}**" if one.key == findings.decision.bundled else _plain(one.key)
        rows.append(f"| {' | '.join([key, *cells, _plain(_remark(one, findings))])} |")
    return rows


def _cell(one: Candidate, name: str) -> str:
    figure = one.figure(name)
    interval = interval_of(name, figure) if name in _WITH_INTERVAL else ""
    return value_of(name, figure, bare=True) + (f" ({interval})" if interval else "")


def _remark(one: Candidate, findings: Findings) -> str:
    if one is findings.decision.baseline:
        return "the original"
    if one.key == findings.decision.bundled:
        return "chosen"
    return ", ".join(f"{verdict.gate} {verdict.word}" for verdict in one.verdicts if not verdict.ok)


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def _plain(text: str) -> str:
    """Return the text on one line with all markup and mentions escaped."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
