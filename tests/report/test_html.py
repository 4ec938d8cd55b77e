"""report.html: its contents, and escaping of users' names."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.figure import Figure
from edgehone.report.findings import Findings
from edgehone.report.html import page
from edgehone.report.html.tag import Html, data, join, tag

from .test_summary import FIGURES, candidate, decision, verdict

HOSTILE = """</script><script>alert(1)</script><img src=x onerror=alert(2)>"'&<!--"""


class Page(HTMLParser):
    """The elements of a page, its text, and what lies in its data."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def report(*candidates: Any, **more: Any) -> Page:
    return Page(page([Findings("bundle", decision(*candidates, **more))]))


def test_the_page_shows_decision_machine_and_candidates() -> None:
    made = report(candidate("a/q4", verdicts=(verdict(False),)), candidate("a/q8"), chosen="a/q8")
    for said in (
        "because",
        "A CPU",
        "LlamaForCausalLM",
        "a/q4",
        "a/q8",
        "2.50 MB",
        "99.3 %",
        "fails speed-up",
    ):
        assert said in made.text


def test_a_report_for_another_device_says_that_its_speed_is_predicted() -> None:
    figures = {**FIGURES, "speedup": Figure.prediction(3.0, 1.4, "×")}
    device = {"cpu": "A CPU", "threads": 2, "target": {"name": "raspberry-pi-5"}}
    made = report(candidate("a/q4", figures=figures), chosen="a/q4", device=device)
    assert "for raspberry-pi-5: speed and memory predicted, not measured" in made.text
    assert "as fast, predicted" in made.text


def test_a_hostile_name_stays_text() -> None:
    model = {"architecture": HOSTILE, "parameters": 1, "path": f"/m/{HOSTILE}", "digest": HOSTILE}
    given: dict[str, Any] = {
        "model": model,
        "reason": HOSTILE,
        "notes": (HOSTILE,),
        "device": {"cpu": HOSTILE},
    }
    lost = candidate(f"b/{HOSTILE}", status="failed", error=HOSTILE, log=HOSTILE, figures={})
    found = Findings(
        HOSTILE,
        decision(candidate(HOSTILE), candidate("a/q8"), lost, chosen=HOSTILE, **given),
        logs={lost.key: HOSTILE},
        command=HOSTILE,
        problems=(HOSTILE,),
    )
    made = Page(page([found]))
    plain = report(candidate("a/q4"), candidate("a/q8"), chosen="a/q4")
    assert sum(name == "script" for name, _ in made.elements) == sum(
        name == "script" for name, _ in plain.elements
    )
    assert not any(name == "img" or key.startswith("on") for name, own in made.elements for key in own)
    assert HOSTILE in made.text


def test_nothing_is_fetched_from_anywhere() -> None:
    text = page([Findings("bundle", decision(candidate("a/q8"), chosen="a/q8"))])
    assert "default-src 'none'" in text
    assert not re.search(
        r"\b(src|srcset|action|data)=|@import|url\(|https?://(?!www\.w3\.org/2000/svg)", text
    )
    assert all(own["href"].startswith("#") for _, own in Page(text).elements if own.get("href"))  # type: ignore[union-attr]


def test_missing_figures_have_a_reason() -> None:
    made = report(candidate("a/q8"), chosen="a/q8")
    assert "not measured" in made.text
    assert "None" not in made.text and "nan" not in made.text.lower().replace("finance", "")


def test_a_decision_in_which_all_is_missing_still_makes_a_page() -> None:
    empty = replace(decision(), device={}, model={}, workload={}, baseline=candidate("?", figures={}))
    text = Page(page([Findings("bundle", empty, problems=("decision.json is cut",))])).text
    assert "decision.json is cut" in text and "nothing to plot" in text


def test_several_bundles_are_compared_on_one_page() -> None:
    one = Findings("first", decision(candidate("a/q8"), chosen="a/q8"))
    two = Findings("second", decision(candidate("a/q4"), chosen="a/q4"))
    made = Page(page([one, two]))
    ids = [own["id"] for _, own in made.elements if "id" in own]
    assert len(ids) == len(set(ids))
    assert "first: a/q8" in made.text and "second: the original" in made.text
    assert "have the same device, model and workload" in made.text


def test_a_note_names_what_differs_between_bundles() -> None:
    one = Findings("first", decision(candidate("a/q8"), chosen="a/q8"))
    other = decision(candidate("a/q4"), chosen="a/q4", device={"cpu": "Another", "threads": 4})
    assert "The bundles differ in device," in Page(page([one, Findings("second", other)])).text


def test_a_missing_figure_is_a_dash() -> None:
    bare = candidate("a/q4", figures={"bytes": FIGURES["bytes"]})
    assert "–" in report(candidate("a/q8"), bare, chosen="a/q8").text


@given(st.text())
def test_text_is_escaped_and_comes_back(text: str) -> None:
    made = tag("p", text, title=text)
    parsed = Page(made)
    assert [name for name, _ in parsed.elements] == ["p"]
    if "\r" not in text and "\0" not in text:
        assert parsed.text == text and parsed.elements[0][1]["title"] == text


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=5
    )
)
def test_data_can_not_end_its_element(value: Any) -> None:
    assert "<" not in data(value)


def test_html_is_not_escaped_twice() -> None:
    assert join(Html("<b>"), ["<", None, False, 3]) == "<b>&lt;3"
