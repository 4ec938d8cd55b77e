"""The story of an incident as one page: what was noticed, the diagnosis, each remedy and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from edgehone.operate.journal import Event, Incident, Tried
from edgehone.report.html.page import document
from edgehone.report.html.tag import Html, tag

_WORDS = {
    "kept": "kept", "undone": "undone", "failed": "could not be done", "left": "changed by someone else",
    "begun": "begun", "done": "being judged", "undoing": "being undone",
}  # fmt: skip


def write_story(
    folder: Path, url: str, incident: Incident, events: Sequence[Event], remedies: Sequence[Tried]
) -> Path:
    """Write the page and return its path."""
    path = folder / f"incident-{incident.id}.html"
    new = path.with_suffix(".new")
    new.write_text(story(url, incident, events, remedies), "utf-8")
    new.replace(path)
    return path


def title_of(url: str, incident: Incident) -> str:
    """Return the incident in a line."""
    whose = f" of {incident.model}" if incident.model else ""
    return f"{incident.symptom}{whose} on {url}: {', '.join(incident.alerts)}"


def figure(value: float, unit: str) -> str:
    """Return a figure of an alert with its unit: bytes as megabytes, shares in percent."""
    if unit == "bytes":
        return f"{value / 1e6:,.0f} MB"
    return f"{value:.1%}" if unit == "share" else f"{value:.4g} {unit}".rstrip()


def story(url: str, incident: Incident, events: Sequence[Event], remedies: Sequence[Tried]) -> str:
    """Return the page as HTML."""
    diagnosed = [one for one in events if one.kind == "diagnosed"]
    named = tag(
        "p",
        tag("strong", f"{incident.outcome or 'open'}. "),
        f"Since {_at(incident.opened)} UTC.",
        class_="lead",
    )
    body = tag(
        "article",
        tag(
            "header", tag("p", "edgehone operate", class_="brand"), tag("h1", title_of(url, incident)), named
        ),
        _section("Causes", _causes(diagnosed[-1]) if diagnosed else [tag("p", "It was not diagnosed.")]),
        _section("Remedies", [_remedies(remedies)]),
        _section("Not offered", _not_offered(events)),
        _section("Every step", [_steps(events)]),
    )
    return document(f"{title_of(url, incident)}: edgehone operate", body)


def _section(title: str, content: Iterable[Html | None]) -> Html | None:
    parts = [one for one in content if one is not None]
    return tag("section", tag("h2", title), *parts) if parts else None


def _causes(event: Event) -> list[Html]:
    found = event.detail.get("causes", [])
    if not found:
        return [tag("p", "No known cause was found.")]
    return [
        tag(
            "div",
            tag("h3", one["name"]),
            tag("p", one["says"]),
            tag("ul", *(tag("li", text) for text in one["evidence"])),
        )
        for one in found
    ]


def _remedies(remedies: Sequence[Tried]) -> Html:
    if not remedies:
        return tag("p", "None was tried.")
    rows = [
        tag(
            "tr",
            tag("th", one.name, scope="row"),
            tag("td", str(one.plan.get("says", ""))),
            tag("td", _WORDS[one.state]),
            tag("td", one.why or ""),
            tag("td", _at(one.began)),
        )
        for one in remedies
    ]
    return _table(("Remedy", "What was done", "Outcome", "Why", "Begun (UTC)"), rows)


def _not_offered(events: Sequence[Event]) -> list[Html | None]:
    last = next((one for one in reversed(events) if one.detail.get("not_offered")), None)
    if last is None:
        return []
    items = last.detail["not_offered"].items()
    return [tag("ul", *(tag("li", tag("strong", name), f": {why}") for name, why in items))]


def _steps(events: Sequence[Event]) -> Html:
    rows = [tag("tr", tag("td", _at(one.at)), tag("td", one.kind), tag("td", one.says)) for one in events]
    return _table(("UTC", "Step", ""), rows)


def _at(text: str) -> str:
    """Return a time of the journal to the second; it is not broken into lines."""
    return text[:19].replace("-", "\N{NON-BREAKING HYPHEN}").replace("T", "\N{NO-BREAK SPACE}")


def _table(heads: Sequence[str], rows: Sequence[Html]) -> Html:
    head = tag("tr", *(tag("th", one, scope="col") for one in heads))
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll")
