"""The sections on stages, parity checks, gates, failures, notes, and reproduction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.decision.decision import Candidate, Conversion
from edgehone.decision.gates import Verdict
from edgehone.report.explain import STAGE_FIGURES, Stage, losses, stages
from edgehone.report.figures import number, shape, token_ids, unit_of, value_of
from edgehone.report.html.parts import Context, day, section, some, table
from edgehone.report.html.tag import Html, join, tag

_ENDS = {"low": "lower end", "high": "upper end", "value": "value"}


def progress(context: Context) -> Html:
    """Return the section on the stages: baseline, conversion, quantization, acceleration, validation."""
    before: Candidate | None = None
    items = []
    for one in stages(context.findings.decision):
        items.append(_stage(context, one, before))
        before = one.candidate or before
    text = "The steps from the original to the chosen candidate. ×: relative to the previous stage."
    return section(
        context.prefix, "stages", "Stages", tag("p", text, class_="note"), tag("ol", *items, class_="stages")
    )


def _stage(context: Context, stage: Stage, before: Candidate | None) -> Html:
    one = stage.candidate
    rows = []
    for name in STAGE_FIGURES if one else ():
        assert one is not None
        value, was = one.figure(name).value, before.figure(name).value if before else None
        if value is None:
            continue
        times = None
        if shape(name).less and name != "kl_mean" and was and one is not before:
            times = tag("small", f"×{value / was:.2g}")
        rows.append(
            tag("div", tag("dt", shape(name).label), tag("dd", times, value_of(name, one.figure(name))))
        )
    return tag(
        "li",
        tag("h3", stage.name.capitalize()),
        context.name(one) if one else None,
        tag("p", stage.text),
        tag("dl", *rows) if rows else None,
    )


def conversions(context: Context) -> Html | None:
    """Return the section on the parity check of each backend."""
    checks = context.findings.decision.conversions
    if not checks:
        return None
    names = ("max_error", "mean_error", "kl_mean", "same_top")
    head = [
        "Conversion",
        "Token ids",
        *(tag("th", shape(n).label, scope="col", class_="n") for n in names),
        "Verdict",
    ]
    text = (
        "Each backend's unquantized build is compared with the original. A backend whose unquantized build does not "
        "match the original is disqualified."
    )
    rows = [_conversion(one, names) for one in checks]
    results = table("Unquantized builds compared with the original", head, rows)
    listed = [tag("li", tag("b", one.key), f": {note}") for one in checks for note in one.notes]
    notes = (
        tag("p", "Differences that do not disqualify:", class_="note"),
        tag("ul", *listed),
    )
    return section(
        context.prefix,
        "conversions",
        "Parity check",
        tag("p", text, class_="note"),
        results,
        *(notes if listed else ()),
    )


def _conversion(one: Conversion, names: tuple[str, ...]) -> Html:
    figures = [tag("td", value_of(n, getattr(one, n), bare=True), class_="n") for n in names]
    verdict = tag(
        "td",
        _mark("passes" if one.passed else "fails"),
        " passed" if one.passed else f" failed: {one.reason}",
    )
    return tag("tr", tag("th", one.key, scope="row"), tag("td", token_ids(one) or "–"), *figures, verdict)


def gates(context: Context) -> Html:
    """Return the section on gates: for every verdict the judged value and whether it passes."""
    judged = [one for one in context.measured if one.verdicts]
    names = list(dict.fromkeys(v.gate for one in judged for v in one.verdicts))
    if not names:
        return section(context.prefix, "gates", "Gates", tag("p", "No gates were judged."))
    by_gate: Mapping[str, Verdict] = {v.gate: v for one in judged for v in one.verdicts}
    head = ["Candidate", *(tag("th", *_threshold(by_gate[name]), scope="col", class_="n") for name in names)]
    rows = []
    for one in judged:
        verdicts = {v.gate: v for v in one.verdicts}
        cells = [_verdict(verdicts.get(name)) for name in names]
        rows.append(tag("tr", context.head(one), *cells, class_=context.row_class(one)))
    text = "Each gate is judged by the named end of the interval. A missing figure fails."
    return section(
        context.prefix,
        "gates",
        "Gates",
        tag("p", text, class_="note"),
        table("Gates by candidate", head, rows),
    )


def _threshold(verdict: Verdict) -> list[Any]:
    op = {">=": "≥", "<=": "≤"}.get(verdict.op, verdict.op)
    limit = number(verdict.figure, verdict.threshold, unit_of(verdict.figure))
    return [
        shape(verdict.figure).label,
        tag("small", f"{op} {limit}, {_ENDS.get(verdict.bound, verdict.bound)}"),
    ]


def _verdict(verdict: Verdict | None) -> Html:
    if verdict is None:
        return tag("td", "–", class_="n")
    judged = {"low": verdict.low, "high": verdict.high}.get(verdict.bound, verdict.value)
    text = "no figure" if judged is None else number(verdict.figure, judged, unit_of(verdict.figure))
    return tag("td", text, " ", _mark(verdict.word), class_="n")


def _mark(word: str) -> Html:
    return tag(
        "span",
        {"passes": "✓", "fails": "✗"}.get(word, "?"),
        class_="ok" if word == "passes" else "no",
        role="img",
        aria_label=word,
    )


def failures(context: Context) -> Html | None:
    """Return the section on failed, disqualified and skipped candidates: each cause once, with the end of the log."""
    lost = [
        one for one in (context.findings.decision.baseline, *context.findings.ordered) if one.status != "ok"
    ]
    if not lost:
        return None
    causes: dict[tuple[str, str | None, str | None], list[str]] = {}
    for one in lost:
        causes.setdefault((one.status, one.error, one.log), []).append(one.key)
    items = []
    for (status, error, log), keys in causes.items():
        tail = next((context.findings.logs[key] for key in keys if key in context.findings.logs), None)
        items.append(
            tag(
                "li",
                tag("p", tag("b", some(keys)), f" {status}"),
                tag("pre", error or "unknown cause"),
                tag("p", "Log: ", tag("code", log), class_="path") if log else None,
                tag("details", tag("summary", "End of the log"), tag("pre", tail)) if tail else None,
            )
        )
    return section(
        context.prefix, "failures", "Failed, disqualified or skipped", tag("ul", *items, class_="fates")
    )


def others(context: Context) -> Html | None:
    """Return the section on why each measured candidate lost, except for the chosen one."""
    decision = context.findings.decision
    lost = {one.key for one in decision.candidates if one.status != "ok"}
    causes: dict[str, list[str]] = {}
    for key, reason in losses(decision).items():
        if key not in lost:
            causes.setdefault(reason, []).append(key)
    if not causes:
        return None
    rows = [tag("li", tag("b", some(keys)), f": {reason}") for reason, keys in causes.items()]
    return section(context.prefix, "others", "Why other candidates lost", tag("ul", *rows, class_="why"))


def notes(context: Context) -> Html | None:
    """Return the section with the run's notes on its conditions."""
    notes = context.findings.decision.notes
    if not notes:
        return None
    return section(
        context.prefix,
        "notes",
        "Conditions and notes",
        tag("ul", *(tag("li", one) for one in notes), class_="told"),
    )


def again(context: Context) -> Html:
    """Return the section with the command and the versions of all packages."""
    decision = context.findings.decision
    command = (
        tag("pre", context.findings.command)
        if context.findings.command
        else tag("p", "The command is unknown.")
    )
    rows = []
    for backend, packages in decision.versions.items():
        if isinstance(packages, Mapping) and packages:
            shown = ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))
            rows.append(tag("div", tag("dt", backend), tag("dd", shown)))
    versions = tag("details", tag("summary", "Versions"), tag("dl", *rows)) if rows else None
    digest = decision.model.get("digest")
    origin = join(
        tag("p", "It needs the model with the digest ", tag("code", str(digest)), ".") if digest else None,
        tag("p", f"Made {day(decision.created)} by edgehone {decision.edgehone}."),
    )
    return section(context.prefix, "again", "How to reproduce", command, versions, origin)
