"""What all sections are made of: the candidate's mark and name, folded tables, lists of facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate
from edgehone.report.findings import Findings
from edgehone.report.html.tag import Html, join, tag

# Rows of a table before the rest is folded away.
SHOWN = 24
# As many marks as style.css has colours and page.html shapes; further backends begin again.
SERIES = 8


@dataclass(frozen=True)
class Context:
    """A bundle's findings and how this page tells its parts apart: `prefix` of ids, mark of each backend."""

    found: Findings
    prefix: str
    series: Mapping[str, int]

    @classmethod
    def of(cls, found: Findings, prefix: str) -> Context:
        """A bundle's context: one mark a backend, in the order of their names."""
        named = sorted({one.backend for one in (found.decision.baseline, *found.decision.candidates)})
        return cls(found, prefix, {name: i % SERIES for i, name in enumerate(named)})

    @property
    def measured(self) -> list[Candidate]:
        """The original, then every candidate that was built and proven, in the order of all tables."""
        every = [self.found.decision.baseline, *self.found.ordered]
        return [one for one in every if one.status == "ok"]

    def with_figure(self, name: str) -> list[tuple[Candidate, Figure]]:
        """Those that have a value of this figure."""
        pairs = ((one, one.figure(name)) for one in self.measured)
        return [(one, figure) for one, figure in pairs if figure.value is not None]

    def mark(self, one: Candidate) -> Html:
        """The coloured shape of the candidate's backend."""
        number = self.series.get(one.backend, 0)
        return tag("svg", tag("use", href=f"#m{number}"), class_=f"m s{number}", aria_hidden="true")

    def who(self, one: Candidate) -> Html:
        """The candidate's mark and key, with a word where it is the original or the chosen."""
        backend, slash, name = one.key.partition("/")
        key = join(backend, slash, tag("wbr"), name) if slash else join(backend)
        decision = self.found.decision
        word = "original" if one is decision.baseline else "chosen" if one.key == decision.chosen else None
        return tag("span", self.mark(one), tag("span", key, word and tag("em", word)), class_="who")

    def head(self, one: Candidate) -> Html:
        """The first cell of its row."""
        return tag("th", self.who(one), scope="row")

    def row_class(self, one: Candidate) -> str | None:
        """What sets its row apart."""
        decision = self.found.decision
        return "base" if one is decision.baseline else "best" if one.key == decision.chosen else None


def section(prefix: str, name: str, title: str, *body: Any) -> Html:
    """A section with its heading."""
    label = f"{prefix}{name}"
    return tag("section", tag("h2", title, id=f"{label}-h"), *body, id=label, aria_labelledby=f"{label}-h")


def table(caption: str, head: Sequence[Any], rows: Sequence[Html], *, kind: str | None = None) -> Html:
    """A table that scrolls within itself where it is too wide; rows beyond the first some are folded away."""
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
    made = tag(
        "table", tag("caption", caption), tag("thead", tag("tr", *cells)), tag("tbody", *rows), class_=kind
    )
    return tag("div", made, class_="wide", tabindex="0", role="region", aria_label=caption)


def facts(pairs: Iterable[tuple[str, Any]]) -> Html:
    """A list of names and values; those without a value are left out."""
    rows = [
        tag("div", tag("dt", name), tag("dd", value))
        for name, value in pairs
        if value not in (None, "", [], {})
    ]
    return tag("dl", *rows)


def reasons(context: Context, names: Sequence[str]) -> Html | None:
    """Why figures are missing, each reason once with all whom it concerns."""
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
    """The keys, or the first some and how many more."""
    return ", ".join(keys) if len(keys) <= most else f"{', '.join(keys[:most])} and {len(keys) - most} more"


def day(created: str) -> str:
    """A time of ISO 8601 as people write it; what is none, as it is."""
    try:
        return f"{datetime.fromisoformat(created):%-d %B %Y, %H:%M %Z}".rstrip()
    except ValueError:
        return created
