"""The page: one self-contained file for one bundle, or for several in comparison."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from importlib.resources import files
from string import Template

from edgehone.core.errors import EdgehoneError
from edgehone.report.findings import Findings
from edgehone.report.html import comparison, head, measured, proof, scatter
from edgehone.report.html.parts import Context
from edgehone.report.html.tag import Html, join, tag

_SECTIONS: tuple[Callable[[Context], Html | None], ...] = (
    scatter.section_of,
    proof.progress,
    measured.quality,
    measured.speed,
    measured.memory,
    measured.energy,
    proof.gates,
    proof.conversions,
    proof.others,
    proof.failures,
    head.about,
    proof.notes,
    proof.again,
)


def page(bundles: Sequence[Findings]) -> str:
    """Return the report as HTML without links to other files."""
    several = len(bundles) > 1
    articles = [_article(findings, f"b{i}-", several) for i, findings in enumerate(bundles)]
    if several:
        top = tag("header", tag("p", "edgehone report", class_="brand"), tag("h1", f"{len(bundles)} bundles"))
        articles.insert(0, tag("article", top, comparison.comparison(bundles)))
    name = head.title(bundles[0]) if not several else f"{len(bundles)} bundles"
    return document(f"{name}: edgehone report", join(*articles), _data("rank.js") + _data("script.js"))


def document(title: str, body: Html, script: str = "") -> str:
    """Return a page in the look of the report, as one file.

    The content security policy allows no script but the page's own, so that text which escaped the escaping would not
    be executed.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(_data("page.html")).substitute(
        title=join(title),
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'",
        style=_data("style.css"),
        body=body,
        script=script,
    )


def _article(findings: Findings, prefix: str, several: bool) -> Html:
    context = Context.of(findings, prefix)
    sections = [part for build in _SECTIONS if (part := _guarded(build, context))]
    top = tag(
        "header",
        tag("p", f"edgehone report{f', {findings.name}' if several else ''}", class_="brand"),
        tag("h2" if several else "h1", head.title(findings), class_="title"),
        head.banner(findings),
        _guarded(head.verdict, context),
    )
    return tag("article", top, *sections, id=f"{prefix}top")


def _guarded(build: Callable[[Context], Html | None], context: Context) -> Html | None:
    """Return a part of the page, or the error message if the decision contradicts itself."""
    try:
        return build(context)
    except EdgehoneError as error:
        return tag("p", f"A part of this report cannot be shown: {error.message}", class_="banner")


def _data(name: str) -> str:
    return files("edgehone.report.html").joinpath(name).read_text("utf-8")
