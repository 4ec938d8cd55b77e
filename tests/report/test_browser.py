"""report.html in a browser: nothing overlaps, is cut, too pale or too wide, and the sliders rank as Python does."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.figure import Figure
from edgehone.decision import pairs
from edgehone.decision.choice import choose, contenders
from edgehone.report.findings import Findings
from edgehone.report.html import page

from .browser import CHROMIUM, Browser
from .made import WEIGHTS, made

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="there is no Chromium: tools/system_packages.sh"
)
SIZES = pytest.mark.parametrize(
    ("width", "dark", "media"),
    [(1280, False, ""), (1280, True, ""), (360, False, ""), (360, True, ""), (680, False, "print")],
)
CHECKS = (Path(__file__).parent / "checks.js").read_text("utf-8")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page([made(30)]), "utf-8")
    return path


def opened(browser: Browser, path: Path, width: int = 1280, **how: Any) -> None:
    """The page in the browser, with the checks of checks.js."""
    browser.open(path, width, **how)
    browser.value(f"{CHECKS}; 0")


def lacking(found: Findings, chance: random.Random) -> Findings:
    """The findings without the memory or the latency of some candidates."""
    candidates = []
    for one in found.decision.candidates:
        names = [name for name in ("peak_memory_bytes", "workload_latency_ms") if chance.random() < 0.2]
        missing = {name: Figure.missing("not measured") for name in names}
        candidates.append(replace(one, figures={**one.figures, **missing}))
    return replace(found, decision=replace(found.decision, candidates=tuple(candidates)))


def paired(found: Findings, chance: random.Random) -> Findings:
    """The findings with rounds of most candidates: many nearly tie, and others are ahead than the figures say."""
    slowness = [chance.uniform(1, 2) for _ in range(chance.randint(2, 6))]
    candidates = []
    for one in found.decision.candidates:
        own = 100 * (1 + chance.choice((0.0, 0.01, 0.02, 0.1, 0.5)))
        times = [own * slow * chance.uniform(1, 1.02) for slow in slowness]
        rounds = {str(i): [60.0 + i, time, 1000 / time] for i, time in enumerate(times)}
        facts = {**one.facts, pairs.ROUNDS: rounds} if chance.random() < 0.8 else one.facts
        candidates.append(replace(one, facts=facts))
    return replace(found, decision=replace(found.decision, candidates=tuple(candidates)))


def payload(text: str) -> dict[str, Any]:
    """What the page gives its script."""
    begun = text.partition('<script type="application/json" class="data">')[2]
    found: dict[str, Any] = json.loads(begun.partition("</script>")[0])
    return found


@SIZES
def test_nothing_is_too_wide_overlaps_or_is_pale(
    browser: Browser, report: Path, width: int, dark: bool, media: str
) -> None:
    opened(browser, report, width, dark=dark, media=media)
    browser.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.value("too_wide()") == []
    assert browser.value("overlaps()") == []
    assert browser.value("pale()") == {}


@pytest.mark.parametrize("width", [360, 1280])
def test_a_name_without_end_breaks_nothing(browser: Browser, tmp_path: Path, width: int) -> None:
    found = made(6)
    decision, long = found.decision, "x" * 200
    candidates = [
        replace(one, key=long) if one.key == decision.chosen else one for one in decision.candidates
    ]
    model = {**decision.model, "path": f"/models/{long}", "architecture": long}
    changed = replace(
        decision, candidates=tuple(candidates), chosen=long, model=model, reason=f"{long}: best"
    )
    path = tmp_path / "long.html"
    path.write_text(page([replace(found, decision=changed)]), "utf-8")
    opened(browser, path, width)
    assert browser.value("too_wide()") == []


@pytest.mark.parametrize("width", [360, 1280])
def test_no_axes_make_names_overlap(browser: Browser, report: Path, width: int) -> None:
    opened(browser, report, width)
    count = browser.value("document.querySelectorAll('select.x option').length")
    assert count >= 6
    for x in range(count):
        browser.value(
            f"""(() => {{ for (const [which, at] of [['x', {x}], ['y', {(x + 2) % count}]]) {{
            const select = document.querySelector(`select.${{which}}`);
            select.selectedIndex = at; select.dispatchEvent(new Event('change')); }} }})()"""
        )
        assert browser.value("overlaps()") == []
        assert browser.value("document.querySelectorAll('.names text.best').length") == 1


def test_the_checks_find_broken_pages(browser: Browser, report: Path) -> None:
    opened(browser, report)
    spoil = "body { color: #aaa } h1 { width: 3000px; letter-spacing: 9em } .xt span { left: 50% !important }"
    browser.value(
        f"document.head.append(Object.assign(document.createElement('style'), {{textContent: `{spoil}`}})); 0"
    )
    assert "the page is wider than its window" in browser.value("too_wide()")
    assert browser.value("overlaps()") and browser.value("pale()")


def test_nothing_is_fetched_and_nothing_complains(browser: Browser, report: Path) -> None:
    opened(browser, report)
    assert browser.requests == [report.resolve().as_uri()]
    assert browser.errors == []


def test_the_sliders_rank_as_python_does(browser: Browser, report: Path) -> None:
    found = made(30)
    opened(browser, report)
    chance = random.Random(1)
    steps = browser.value(
        "[...document.querySelectorAll('.sliders input')].map((i) => [i.dataset.name, i.dataset.steps])"
    )
    for turn in range(12):
        weights = dict(WEIGHTS)
        for at, (name, known) in enumerate(steps):
            options = known.split()
            chosen = chance.randrange(len(options)) if turn else options.index(f"{WEIGHTS[name]:g}")
            weights[name] = float(options[chosen])
            browser.value(
                f"(() => {{ const i = document.querySelectorAll('.sliders input')[{at}]; i.value = {chosen};"
                "i.dispatchEvent(new Event('input', {bubbles: true})); })()"
            )
        choice = choose(contenders(found.decision.candidates), weights, found.decision.baseline)
        assert choice is not None
        scores = {key: score.value or 0.0 for key, score in choice.scores.items()}
        ranked = sorted(scores, key=lambda key: (-scores[key], key))
        assert browser.value("ranked()") == [[key, f"{scores[key]:.3f}".replace("-", "−")] for key in ranked]
        assert browser.value("document.querySelector('.winner strong').textContent") == choice.key


def test_the_arithmetic_is_that_of_choice(browser: Browser, report: Path) -> None:
    """Over made-up decisions, with ties, paired rounds, missing objectives and weights of 0."""
    opened(browser, report)
    overruled, tied = 0, 0
    for seed in range(40):
        chance = random.Random(seed)
        found = lacking(made(chance.randint(1, 12), seed, requests=1), chance)
        found = paired(found, chance) if seed % 2 else found
        weights = {name: chance.choice((0.0, 0.1, 1.0, 8.0)) for name in WEIGHTS}
        data = payload(page([found]))
        given = json.dumps([data["rivals"], weights, data["rules"], data["original"]])
        told = browser.value(f"rank(...{given})")
        choice = choose(contenders(found.decision.candidates), weights, found.decision.baseline)
        assert (told is None) == (choice is None)
        if choice is None:
            continue
        assert told["winner"] == choice.key
        assert told["ties"] == list(choice.tied)
        overruled += told["ranked"][0] != told["ties"][0]
        tied += len(told["ties"]) > 1
        assert set(told["scores"]) == set(choice.scores)
        for key, score in choice.scores.items():
            assert told["scores"][key] == pytest.approx(
                [score.value, score.low, score.high], rel=1e-12, abs=1e-12
            )
    assert overruled and tied


def test_arrow_keys_go_from_point_to_point(browser: Browser, report: Path) -> None:
    opened(browser, report)
    browser.value("document.querySelector('.dots').focus()")
    seen = []
    for _ in range(3):
        for kind in ("keyDown", "keyUp"):
            browser.ask("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight")
        seen.append(browser.value("document.querySelector('.dots').getAttribute('aria-activedescendant')"))
    assert len(set(seen)) == 3
    told = browser.value("document.querySelector('.readout').textContent")
    assert "Latency" in told and " ms" in told


def test_without_a_script_all_is_there_but_the_interaction(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    browser.open(report, script=False)
    tree = browser.ask("DOMSnapshot.captureSnapshot", computedStyles=["display"], includeDOMRects=True)
    assert len(tree["documents"]) == 1
    browser.value(f"{CHECKS}; 0")
    assert browser.value("too_wide()") == [] and browser.value("overlaps()") == []
    assert browser.value("getComputedStyle(document.querySelector('.sliders')).display") == "none"
    text = report.read_text("utf-8")
    assert made(30).decision.chosen in text.replace("<wbr>", "")  # type: ignore[operator]
    browser.picture(tmp_path / "still.png")
    assert (tmp_path / "still.png").stat().st_size > 50_000


def test_a_page_prints(browser: Browser, report: Path, tmp_path: Path) -> None:
    opened(browser, report)
    browser.printed(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
