"""The common parts of sections: a candidate's mark and name, folded tables, lists of facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate
from edgehone.report.findings import Findings
from edgehone.report.html.tag import Html, join, tag

# Rows of a table that are shown; the others are folded.
SHOWN = 24
# The number of colours in style.css and of shapes in page.html; further backends reuse them.
SERIES = 8


@dataclass(frozen=True)
class Context:
    """A bundle's findings, the `prefix` of its ids in the page, and the number of each backend's mark (`series`)."""

    findings: Findings
    prefix: str
    series: Mapping[str, int]

    @classmethod
    def of(cls, findings: Findings, prefix: str) -> Context:
        """Return a bundle's context, with one mark per backend in the order of their names."""
        named = sorted({one.backend for one in (findings.decision.baseline, *findings.decision.candidates)})
        return cls(findings, prefix, {name: i % SERIES for i, name in enumerate(named)})

    @property
    def measured(self) -> list[Candidate]:
        """The original, then every measured candidate in the order of all tables."""
        every = [self.findings.decision.baseline, *self.findings.ordered]
        return [one for one in every if one.status == "ok"]

    def with_figure(self, name: str) -> list[tuple[Candidate, Figure]]:
        """Return the measured candidates that have a value of this figure."""
        pairs = ((one, one.figure(name)) for one in self.measured)
        return [(one, figure) for one, figure in pairs if figure.value is not None]

    def mark(self, one: Candidate) -> Html:
        """Return the coloured shape of the candidate's backend."""
        number = self.series.get(one.backend, 0)
        return tag("svg", tag("use", href=f"#m{number}"), class_=f"m s{number}", aria_hidden="true")

    def name(self, one: Candidate) -> Html:
        """Return the candidate's mark and key, labelled if it is the original or the chosen candidate."""
        backend, slash, name = one.key.partition("/")
        key = join(backend, slash, tag("wbr"), name) if slash else join(backend)
        decision = self.findings.decision
        word = "original" if one is decision.baseline else "chosen" if one.key == decision.bundled else None
        return tag("span", self.mark(one), tag("span", key, word and tag("em", word)), class_="who")

    def head(self, one: Candidate) -> Html:
        """Return the first cell of the candidate's row."""
        return tag("th", self.name(one), scope="row")

    def row_class(self, one: Candidate) -> str | None:
        """Return the class of the candidate's row: base for the original, best for the chosen one, else None."""
        decision = self.findings.decision
        return "base" if one is decision.baseline else "best" if one.key == decision.bundled else None


def section(prefix: str, name: str, title: str, *body: Any) -> Html:
    """Return a section with its heading."""
    label = f"{prefix}{name}"
    return tag("section", tag("h2", title, id=f"{label}-h"), *body, id=label, aria_labelledby=f"{label}-h")


def table(caption: str, head: Sequence[Any], rows: Sequence[Html], *, kind: str | None = None) -> Html:
    """Return a table that scrolls if it is too wide. Rows beyond the first SHOWN are folded."""
    first = _table(caption, head, rows[:SHOWN], kind)
    if len(rows) <= SHOWN:
        return first
    rest = _table(f"{caption}: the others", head, rows[SHOWN:], kind)
    return join(first, tag("details", tag("summary", f"{len(rows) - SHOWN} more"), rest))


def _table(caption: str, head: Sequence[Any], rows: Sequence[Html], kind: str | None) -> Html:
    cells = [
        one if isinstance(one, Html) and one.startswith("<th") else tag("th", one, scope="col")
        for one in head
    ]
    element = tag(
        "table", tag("caption", caption), tag("thead", tag("tr", *cells)), tag("tbody", *rows), class_=kind
    )
    return tag("div", element, class_="wide", tabindex="0", role="region", aria_label=caption)


def facts(pairs: Iterable[tuple[str, Any]]) -> Html:
    """Return a list of names and values, without those that have no value."""
    rows = [
        tag("div", tag("dt", name), tag("dd", value))
        for name, value in pairs
        if value not in (None, "", [], {})
    ]
    return tag("dl", *rows)


def reasons(context: Context, names: Sequence[str]) -> Html | None:
    """Return why figures are missing: each reason once, with its candidates. None if none is missing."""
    causes: dict[str, list[str]] = {}
    for one in context.measured:
        for name in names:
            figure = one.figure(name)
            if figure.value is None and one.key not in causes.setdefault(str(figure.reason), []):
                causes[str(figure.reason)].append(one.key)
    causes = {reason: keys for reason, keys in causes.items() if keys}
    if not causes:
        return None
    rows = [tag("li", tag("b", some(keys)), f": {reason}") for reason, keys in causes.items()]
    return tag("ul", *rows, class_="why")


def some(keys: Sequence[str], most: int = 8) -> str:
    """Return the keys, at most `most` of them with the number of the others."""
    return ", ".join(keys) if len(keys) <= most else f"{', '.join(keys[:most])} and {len(keys) - most} more"


def day(created: str) -> str:
    """Return an ISO 8601 time in a readable form; other text unchanged."""
    try:
        return f"{datetime.fromisoformat(created):%-d %B %Y, %H:%M %Z}".rstrip()
    except ValueError:
        return created
