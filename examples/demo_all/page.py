"""The page to open: that of the pipeline, with what the rollout, watching and drift gave after its graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgehone.pipeline.plan import Asked, planned, work_of
from edgehone.pipeline.record import Record
from edgehone.pipeline.reports.html import render
from edgehone.pipeline.reports.write import write_whole
from edgehone.report.html.parts import facts, section, table
from edgehone.report.html.tag import Html, tag
from examples.demo_all.drift import Drifted
from examples.demo_all.place import NAME, Place
from examples.demo_all.plot import plot
from examples.demo_all.release import FILE


def write_page(place: Place, drifted: Drifted) -> Path:
    """Write the page, and return its file."""
    watched = json.loads((place.folder / "watched.json").read_text("utf-8"))
    more = [
        _rollout(watched["rollouts"][-1]),
        _watched(watched["view"]),
        _drift(drifted, place),
        _further(place),
    ]
    document = work_of(Asked(FILE)).document
    page = place.folder / "index.html"
    write_whole(page, render(NAME, planned(document), Record(place.run).results(), more))
    return page


def _rollout(told: Any) -> Html:
    answered = sum(told["answered"].get(version, 0) for version in ("champion", "challenger"))
    lead = f"{told['strategy']} to {told['challenger']['label']}: {told['status']}. {answered:,} requests "
    lead += f"were answered meanwhile, {told['answered'].get('challenger', 0):,} of them by the new version."
    rows = [_row(one["at"], one["kind"], one["says"]) for one in told["events"]]
    steps = table("Steps of the rollout", ("UTC", "step", "found"), rows, kind="said")
    return section("", "rollout", "Rollout in production", tag("p", lead, class_="note"), steps)


def _watched(view: Any) -> Html:
    model = view["models"][0]
    alerts = ", ".join(one["name"] for one in view["alerts"] if not one["pending"])
    shown = facts(
        [
            ("requests", f"{model['requests_per_s']:.0f} a second"),
            ("latency", f"p50 {1000 * model['p50_s']:.3g} ms, p95 {1000 * model['p95_s']:.3g} ms"),
            ("memory", f"{model['memory_bytes'] / 1e6:.0f} MB"),
            ("alerts that hold", alerts or "none"),
        ]
    )
    lead = tag("p", "The server after the rollout, as edgehone monitor shows it.", class_="note")
    return section("", "watched", "Watched", lead, shown)


def _drift(drifted: Drifted, place: Place) -> Html:
    said = [one for one in drifted.events if "says" in one]
    rows = [_row(one["at"], one["event"], one["says"].replace(f"{place.folder}/", "")) for one in said]
    steps = table("Steps of edgehone operate", ("UTC", "step", "found"), rows, kind="said")
    story = drifted.story and tag(
        "a", "the story that the human got", href=drifted.story.relative_to(place.folder)
    )
    lead = "The clients began to write in capitals. The evidence for a change is a power of ten; above the dashed line "
    lead += (
        "it is an alarm, which is false with a probability of 1 % at most over the whole life of the version."
    )
    return section(
        "", "drift", "Drift, planted and answered", tag("p", lead, class_="note"), plot(drifted), steps,
        tag("p", story, class_="note"),
    )  # fmt: skip


def _row(at: str, kind: str, says: str) -> Html:
    return tag("tr", tag("th", at[11:19], scope="row"), tag("td", kind, class_="o"), tag("td", says))


def _further(place: Place) -> Html:
    pages = {
        "run/index.html": "the page of the pipeline alone",
        "run/bundle/certificate.html": "the certificate of the new version",
        "run/results.md": "the results as Markdown, for a pull request",
        "run/monitoring/README.md": "alert rules for Prometheus, and a dashboard for Grafana",
        "log.txt": "every command of this run, with its output",
    }
    items = [
        tag("li", tag("a", name, href=name), f": {what}")
        for name, what in pages.items()
        if (place.folder / name).is_file()
    ]
    return section("", "further", "Further pages", tag("ul", *items, class_="why"))
