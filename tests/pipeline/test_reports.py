"""The results of a run, as JUnit XML, Markdown and HTML, whatever the texts in them are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.pipeline.plan import planned
from edgehone.pipeline.read import read_document
from edgehone.pipeline.reports import html, junit, markdown
from edgehone.pipeline.result import Check, Result
from edgehone.pipeline.stage import Stage
from edgehone.report.html.tag import tag
from tests.pipeline.nullpipeline import FILES
from tests.report.browser import CHROMIUM, Browser

NASTY = "<script>alert(1)</script> | `x` \x1b[31m\x00 ]]> & *b* @all #1"


def stages() -> list[Stage]:
    return planned(read_document(FILES / "edge_ai_pipeline.yaml"))


def results(said: str = "well") -> dict[str, Result]:
    checks = (Check("a.b", "passed", said, 1.5), Check("c", "failed", said), Check("d", "skipped", said))
    found = [
        Result(
            "model_validation", "k", "passed", said, "2026-11-29T03:00:00+00:00", 2.0, checks[:1], {}, (said,)
        ),
        Result("optimization", "k", "passed", said, skipped=True),
        Result("testing", "k", "failed", said, "2026-11-29T03:00:00+00:00", 9.0, checks),
        Result("staging_deployment", "", "blocked", "testing has not passed"),
        Result("production_deployment", "k", "waiting", said, figures=(said, "x" * 80, "no room")),
    ]
    return {one.stage: one for one in found}


def test_junit_has_a_suite_for_each_stage_and_a_case_for_each_check() -> None:
    root = ET.fromstring(junit.render("m", list(results().values())))
    suites = {one.get("name"): one for one in root}
    assert list(suites) == list(results())
    testing = suites["testing"]
    assert (testing.get("tests"), testing.get("failures"), testing.get("skipped")) == ("3", "1", "1")
    assert testing.find("testcase/failure") is not None
    assert suites["staging_deployment"].find("testcase/skipped") is not None


def test_the_reports_say_how_long_the_stages_took() -> None:
    found = results()
    kept = replace(found["optimization"], seconds=7.5)
    said = "The stages took 11.0 s; those that were kept had taken 7.5 s"
    assert said in markdown.render("m", stages(), {**found, "optimization": kept})
    assert said in html.render("m", stages(), {**found, "optimization": kept})
    assert ET.fromstring(junit.render("m", list(found.values()))).get("time") == "11.000"


def test_what_else_is_told_stands_after_the_graph() -> None:
    page = html.render("m", stages(), results(), [tag("section", "more & more", id="more")])
    assert page.index("</svg>") < page.index("more &amp; more</section>") < page.index('id="testing"')


def test_a_result_of_an_earlier_version_is_read() -> None:
    data = results()["testing"].to_json()
    assert Result.from_json(json.loads(json.dumps(data))) == results()["testing"]
    del data["figures"]
    assert Result.from_json(data).figures == ()


def test_a_stage_that_failed_without_a_failed_check_is_a_failure() -> None:
    failed = Result("testing", "k", "failed", "no room", checks=(Check("a", "passed", "well"),))
    suite = ET.fromstring(junit.render("m", [failed]))[0]
    assert suite.get("failures") == "1" and len(suite) == 2


@given(st.text())
def test_any_text_gives_well_formed_xml(said: str) -> None:
    ET.fromstring(junit.render(said, list(results(said).values())))


@given(st.text(min_size=1))
def test_no_text_breaks_a_row_of_the_table(said: str) -> None:
    text = markdown.render("m", stages(), results(said))
    rows = [line for line in text.splitlines() if line.startswith("| testing |")]
    assert len(rows) == 1 and rows[0].replace("\\\\", "").replace("\\|", "").count("|") == 5


def test_markdown_tells_the_outcome_and_escapes_what_others_wrote() -> None:
    text = markdown.render("m", stages(), results(NASTY))
    assert text.startswith("## Pipeline of m: failed in testing")
    assert "<script" not in text and "\\@all" in text
    assert "| monitoring | not run |" in text and "passed before, unchanged" in text


def test_markdown_is_cut_before_a_comment_would_be_refused() -> None:
    checks = tuple(Check(f"check {n}", "passed", "x" * 300) for n in range(400))
    found = {"testing": Result("testing", "k", "passed", "x", checks=checks)}
    assert len(markdown.render("m", stages(), found)) < 65_536


@pytest.mark.skipif(CHROMIUM is None, reason="no browser: tools/system_packages.sh")
def test_the_page_shows_the_stages_as_a_graph(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text(html.render("m", stages(), results(NASTY)), "utf-8")
    browser.open(page)
    shown: Any = browser.value(
        "[...document.querySelectorAll('svg[role=img] text')].map(one => one.textContent)"
    )
    assert "x" * 29 + "…" in shown and "no room" not in shown
    assert "testing" in shown and "✗ failed" in shown and "✓ unchanged" in shown and "· not run" in shown
    links: Any = browser.value(
        "[...document.querySelectorAll('svg a')].every(one => document.querySelector(one.getAttribute('href')))"
    )
    wide: Any = browser.value(
        "[...document.querySelectorAll('svg[role=img] g')].every(g => !g.querySelector('rect') || "
        "[...g.querySelectorAll('text')].every(t => t.getBBox().x + t.getBBox().width <= "
        "g.querySelector('rect').getBBox().width))"
    )
    assert links and wide and not browser.errors
