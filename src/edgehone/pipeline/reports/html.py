"""One HTML page of a run: the stages as a graph, and what each found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgehone.pipeline.reports.graph import graph
from edgehone.pipeline.reports.markdown import duration, summary, word_of
from edgehone.pipeline.result import Check, Result
from edgehone.pipeline.stage import Stage
from edgehone.report.html.page import document
from edgehone.report.html.parts import section, table
from edgehone.report.html.tag import Html, join, tag

_CLASS: Mapping[str, str | None] = {"passed": "ok", "failed": "no", "skipped": "wait"}


def render(
    title: str, stages: Sequence[Stage], results: Mapping[str, Result], more: Sequence[Html] = ()
) -> str:
    """Return the page as one file. `more`: further sections, after the graph."""
    top = tag(
        "header",
        tag("p", "edgehone pipeline", class_="brand"),
        tag("h1", f"{title}: {summary(stages, results)}", class_="title"),
        tag("p", duration(list(results.values())), class_="lead") if results else None,
    )
    parts = [_stage(one, results[one.name]) for one in stages if one.name in results]
    body = tag("article", top, section("", "stages", "Stages", graph(stages, results)), *more, *parts)
    return document(f"{title}: edgehone pipeline", body)


def _stage(stage: Stage, result: Result) -> Html:
    took = f", {result.seconds:.1f} s from {result.began[:16].replace('T', ' ')} UTC" if result.began else ""
    lead = tag("p", tag("strong", word_of(result)), f"{took}: {result.said}", class_="note")
    rows = [_row(one) for one in sorted(result.checks, key=lambda one: one.outcome != "failed")]
    head = ("check", "result", "found", tag("th", "time", scope="col", class_="n"))
    checks = table(f"Checks of {stage.name}", head, rows, kind="said") if rows else None
    notes = tag("ul", *(tag("li", one) for one in result.notes), class_="why") if result.notes else None
    return section("", stage.name, stage.name, tag("p", f"{stage.says}.", class_="note"), lead, checks, notes)


def _row(check: Check) -> Html:
    seconds = f"{check.seconds:.1f} s" if check.seconds else ""
    return tag(
        "tr",
        tag("th", join(*_breakable(check.name)), scope="row"),
        tag("td", check.outcome, class_=f"o {_CLASS[check.outcome]}"),
        tag("td", check.said),
        tag("td", seconds, class_="n"),
    )


def _breakable(name: str) -> list[str | Html]:
    """Return a name that may be broken after its dots."""
    parts = name.split(".")
    return [piece for part in parts[:-1] for piece in (f"{part}.", tag("wbr"))] + [parts[-1]]
