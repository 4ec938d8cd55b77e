"""The page /dashboard in a browser, over a history of six hours that was written before, and over one of a server."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgehone.serve.history.figures import Series
from edgehone.serve.history.store import COARSE, FILE, FINE, Store
from tests.finished import Finished
from tests.report.browser import CHROMIUM, Browser
from tests.serve.server import Server, running, wait_for

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"), reason="there is no Chromium: tools/system_packages.sh"
    ),
]
CHECKS = (Path(__file__).parents[1] / "report" / "checks.js").read_text("utf-8")
KEY = "a-key-of-this-test"
BEARER = {"Authorization": f"Bearer {KEY}"}
ATTACK = "<img src=x onerror='window.attacked=1'>"
HOURS = 6
WRONG_KEYS = 30  # more than the limit of alerts.toml


def series(metric: str, stat: str, **labels: str) -> Series:
    return Series(f"edgehone_{metric}", stat, tuple(sorted(labels.items())))


def figures_at(hours: float) -> dict[Series, float]:
    """The figures of a time, counted in hours from the beginning: no requests in the third hour, then a failing one."""
    load = 5 + 4 * math.sin(hours * 2)
    quiet = 2 <= hours < 3
    found = {
        series("requests_total", "rate", path="/v1/completions", status="200"): 0 if quiet else load,
        series("requests_total", "rate", path="/v1/completions", status="503"): 2.0 if hours >= 5 else 0.0,
        series("requests_total", "rate", path="/metrics", status="200"): 1000.0,
        series("waiting_requests", "value", model="bundle"): load // 3,
        series("running_requests", "value", model="bundle"): load // 1,
        series("resident_memory_bytes", "value", part="engine", model="bundle"): 1e9 + 1e8 * hours,
        series("machine_temperature_celsius", "value", zone=ATTACK): 55 + hours,
        series("labels_total", "rate", model="bundle", correct="true"): 3.0,
        series("labels_total", "rate", model="bundle", correct="false"): 1.0,
        series("drift_log10_evidence", "value", model="bundle", name="length"): hours,
        series("drift_log10_needed", "value", model="bundle", name="length"): 4.0,
        series("ready", "value", model="bundle"): 1.0,
    }
    for tenant in range(9):
        found[series("tenant_tokens_total", "rate", tenant=f"tenant-{tenant}", route="a")] = float(tenant + 1)
    if not quiet:
        for stat, factor in (("p50", 1), ("p95", 3), ("p99", 9)):
            found[series("request_seconds", stat, model="bundle")] = 0.02 * load * factor
    return found


@pytest.fixture(scope="module")
def served(_finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for a key, whose state folder has a history of six hours."""
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "state").mkdir()
    store, now = Store(folder / "state" / FILE), time.time()
    for index in range(HOURS * 360):
        hours = index / 360
        row = figures_at(hours)
        store.write(
            {FINE: row, COARSE: row} if index % 30 == 0 else {FINE: row}, now + (hours - HOURS) * 3600
        )
    store.close()
    (folder / "keys").write_text(KEY)
    (folder / "keys").chmod(0o600)
    bundle = Path(shutil.copytree(_finished.bundle, folder / "bundle"))
    words = ("--api-key-file", str(folder / "keys"), "--state", str(folder / "state"))
    with running(bundle, *words, env={"EDGEHONE_HOME": str(_finished.home)}) as one:
        wait_for(lambda: one.client.get("/alerts", headers=BEARER).json()["evaluated"] > 0, 20)
        for _ in range(WRONG_KEYS):
            assert one.client.get("/v1/models", headers={"Authorization": "Bearer wrong"}).status_code == 401
        yield one


def show(browser: Browser, url: str, seconds: int, width: int = 1280, *, dark: bool = False) -> None:
    """Show the page with a key, and some last seconds."""
    browser.visit(f"{url}/dashboard", width, dark=dark)
    browser.value(f"sessionStorage.setItem('edgehone-api-key', '{KEY}')")
    browser.errors.clear()  # of the first answer, 401
    browser.value(f"byId('range').value = {seconds}; load()")
    browser.until("document.querySelectorAll('.plot').length")


def figure(title: str) -> str:
    return f"[...document.querySelectorAll('figure')].find((one) => one.textContent.startsWith('{title}'))"


def legend(browser: Browser, title: str) -> dict[str, str]:
    text = "[one.querySelector('.name')?.textContent, one.querySelector('b')?.textContent]"
    rows = browser.value(f"[...{figure(title)}.querySelectorAll('.legend li')].map((one) => {text})")
    return {str(name): str(value) for name, value in rows}


def test_a_key_is_asked_for_and_the_page_has_no_data_of_its_own(browser: Browser, served: Server) -> None:
    assert httpx.get(f"{served.url}/history").status_code == 401
    page = httpx.get(f"{served.url}/dashboard")
    assert page.status_code == 200 and "tenant-" not in page.text
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy and "connect-src 'self'" in policy
    browser.visit(f"{served.url}/dashboard")
    browser.until("document.activeElement.id === 'key'")
    browser.write("wrong")
    browser.press("Enter")
    assert "no valid key" in browser.until("document.getElementById('key-problem').textContent")
    browser.write(KEY)
    browser.press("Enter")
    browser.until("document.querySelectorAll('.plot').length")
    assert browser.value("document.getElementById('key-form').checkVisibility()") is False
    asked = [one for one in browser.requests if not one.startswith("data:")]
    paths = {one.removeprefix(served.url).partition("?")[0] for one in asked}
    assert paths == {"/dashboard", "/history", "/alerts", "/readyz"}


def test_the_plots_show_what_the_history_has(browser: Browser, served: Server) -> None:
    show(browser, served.url, 6 * 3600)
    assert browser.errors == []
    assert legend(browser, "Requests per second").keys() == {"answered", "failed"}
    assert legend(browser, "Requests per second")["failed"] == "2"
    # Without requests there is no latency: the line has a gap.
    outline = browser.value(f"{figure('Latency')}.querySelector('path.c0').getAttribute('d')")
    assert outline.count("M") >= 2
    # The server writes a row of its own every 10 s, so the last value may be that of this process.
    assert legend(browser, "Memory of the processes")["engine bundle"].endswith(("GB", "MB"))
    sizes = (
        f"[...{figure('Memory of the processes')}.querySelectorAll('.y span')].map((one) => one.textContent)"
    )
    assert browser.value(sizes)[-1].endswith("GB")
    assert legend(browser, "Answers that labels call right") == {"bundle": "75 %"}
    drift = legend(browser, "Evidence of drift")
    assert drift["limit"] == "100 %" and 140 < float(drift["length bundle"].split()[0]) <= 150
    assert (
        len(legend(browser, "Tokens per second, by tenant")) == 7
    )  # six of nine, and how many are not drawn
    missing = browser.value("document.getElementById('missing-list').textContent")
    assert "Cost per hour, by tenant: the settings have no prices" in missing
    # A label is text.
    assert legend(browser, "Temperature").keys() == {ATTACK}
    assert browser.value("window.attacked") is None and browser.value("document.images.length") == 0


def test_the_values_under_the_pointer_are_those_of_that_time(browser: Browser, served: Server) -> None:
    show(browser, served.url, 6 * 3600)
    box = browser.value(
        f"(() => {{ const one = {figure('Temperature')}.querySelector('.plot'); one.scrollIntoView(); "
        "return one.getBoundingClientRect().toJSON(); })()"
    )
    before = legend(browser, "Temperature")[ATTACK]
    move = {"type": "mouseMoved", "x": box["x"] + box["width"] / 2, "y": box["y"] + 20}
    browser.ask("Input.dispatchMouseEvent", **move)
    browser.until(f"{figure('Temperature')}.querySelector('.cursor').getAttribute('d')")
    assert float(before.split()[0]) == pytest.approx(61, abs=0.2)
    assert float(legend(browser, "Temperature")[ATTACK].split()[0]) == pytest.approx(58, abs=0.3)
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    browser.until(f"!{figure('Temperature')}.querySelector('.cursor').getAttribute('d')")
    assert legend(browser, "Temperature")[ATTACK] == before


@pytest.mark.parametrize("seconds", [900, 3600, 86400, 14 * 86400])
def test_every_range_has_ticks_and_points(browser: Browser, served: Server, seconds: int) -> None:
    show(browser, served.url, seconds)
    ticks = browser.value(f"[...{figure('Ready')}.querySelectorAll('.x span')].map((one) => one.textContent)")
    assert 2 <= len(ticks) <= 5 and len(set(ticks)) == len(ticks), ticks
    assert "until" in browser.value("document.getElementById('state').textContent")
    heights = browser.value(
        f"[...{figure('Ready')}.querySelectorAll('.y span')].map((one) => one.textContent)"
    )
    assert heights[0] == "0" and heights[-1].endswith("%")


@pytest.mark.parametrize(
    ("width", "dark"), [(1280, False), (390, False), (390, True), (320, True), (1280, True)]
)
def test_nothing_is_cut_or_pale(browser: Browser, served: Server, width: int, dark: bool) -> None:
    show(browser, served.url, 6 * 3600, width, dark=dark)
    browser.value("askForKey('z')")
    browser.value(f"{CHECKS}; 0")
    assert browser.value("too_wide()") == []
    assert browser.value("pale()") == {}


def test_a_server_that_goes_away_is_told(browser: Browser, served: Server) -> None:
    show(browser, served.url, 3600)
    browser.ask("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1,
                uploadThroughput=-1)  # fmt: skip
    browser.value("load()")
    assert "does not answer" in browser.until("document.querySelector('#state.problem')?.textContent")
    assert browser.value("document.querySelectorAll('.plot').length") > 5  # the plots stay
    browser.ask("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1,
                uploadThroughput=-1)  # fmt: skip
    browser.value("load()")
    browser.until("document.querySelectorAll('#state.ready').length")


def test_a_server_records_its_own_requests(served: Server) -> None:
    begun = time.time()
    for _ in range(3):
        answer = served.post("/v1/completions", {"model": "bundle", "prompt": "a"}, headers=BEARER)
        assert answer.status_code == 200
    asked = f"/history?since={begun}&metric=edgehone_request_seconds&metric=edgehone_requests_total"

    def rows(stat: str) -> list[float]:
        found = served.client.get(asked, headers=BEARER).json()
        assert found["problem"] is None
        return [
            value
            for one in found["series"]
            if one["stat"] == stat and (one["metric"].endswith("seconds") or one["labels"]["status"] == "200")
            and one["labels"].get("path", "/v1/completions") == "/v1/completions"
            for value in one["values"]
            if value
        ]  # fmt: skip

    wait_for(lambda: bool(rows("p95")), 25)
    assert 0 < rows("p95")[0] < 30
    # Three requests in an interval of 10 s, or in two of them; the first had begun before.
    assert 0.1 <= sum(rows("rate")) <= 1.0


def test_alerts_that_hold_are_a_table(browser: Browser, served: Server) -> None:
    """Wrong keys were tried when the server began, and the bundle has no certificate, so no limits of latency."""
    assert httpx.get(f"{served.url}/alerts").status_code == 401

    def told() -> dict[str, Any]:
        return dict(served.client.get("/alerts", headers=BEARER).json())

    def refused() -> list[dict[str, Any]]:
        return [one for one in told()["alerts"] if one["name"] == "refused_keys"]

    wait_for(lambda: bool(refused()), 25)
    found, (one,) = told(), refused()
    assert one["figure"] >= WRONG_KEYS - 1 and one["limit"] == 20 and not one["pending"]
    assert found["evaluated"] > 10
    assert {one["reason"] for one in found["left_out"]} == {"it is not certified"}
    show(browser, served.url, 900)
    rows = "[...document.querySelectorAll('#alerts-rows tr')].map((one) => one.textContent)"
    assert any("ticket" in row and one["says"] in row for row in browser.until(rows))
    assert "are not evaluated" in browser.value("byId('alerts-left').textContent")
    assert browser.value("byId('alerts-none').checkVisibility()") is False and browser.errors == []
