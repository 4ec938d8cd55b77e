"""The page at /, in a browser with a keyboard: against a server of the null backend, and against scripted answers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.responses import JSONResponse

from tests.report.browser import CHROMIUM, Browser
from tests.serve.graphs import expected
from tests.serve.pages import (
    ANSWER,
    CHAT,
    CHECKS,
    FIGURES,
    KEY,
    PLAIN,
    SEES,
    ask,
    check,
    choose,
    choose_file,
    fake,
    keyed,
)
from tests.serve.pictures import COLOURS, shown, url
from tests.serve.scripted import Scripted, scripted
from tests.serve.server import Server, wait_for

__all__ = ["fake", "keyed"]  # fixtures
pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"), reason="there is no Chromium: tools/system_packages.sh"
    ),
]


def test_a_conversation_with_the_keyboard_alone(browser: Browser, keyed: Server) -> None:
    browser.visit(keyed.url)
    browser.until("document.activeElement.id === 'key'")
    ask(browser, "wrong")
    assert "no valid key" in browser.until("document.getElementById('key-problem').textContent")
    assert browser.value("sessionStorage.getItem('edgehone-api-key')") == "wrong"
    ask(browser, KEY)
    browser.until("document.activeElement.id === 'prompt'")
    assert browser.value("document.getElementById('key-problem').checkVisibility()") is False
    assert browser.until("document.getElementById('state').textContent").startswith("ready: all 48 tokens")

    browser.value("document.getElementById('max_tokens').value = 60")
    ask(browser, "Hello\nyou")
    figures = browser.until(FIGURES)
    assert "first token after" in figures and "tokens/s, 60 tokens, ended by the limit" in figures
    first = browser.value(ANSWER)
    history = [{"role": "user", "content": "Hello\nyou"}]
    body = {"model": "bundle", "max_tokens": 60, "messages": history}
    bearer = {"Authorization": f"Bearer {KEY}"}
    told = keyed.post("/v1/chat/completions", body, headers=bearer).json()
    assert first == told["choices"][0]["message"]["content"]
    ask(browser, "Again")
    browser.until("conversation.messages.length === 4 && !conversation.running")
    body["messages"] = [
        *history,
        {"role": "assistant", "content": first},
        {"role": "user", "content": "Again"},
    ]
    told = keyed.post("/v1/chat/completions", body, headers=bearer).json()
    assert browser.value(ANSWER) == told["choices"][0]["message"]["content"]

    generated = keyed.metric("edgehone_generated_tokens_total")
    browser.value("document.getElementById('max_tokens').value = 3000")
    ask(browser, "Go on")
    browser.until(f"({ANSWER} ?? '').length > 20")
    browser.press("Escape")
    assert browser.until(FIGURES).endswith("stopped")
    wait_for(lambda: keyed.metric("edgehone_running_requests") == 0)
    assert keyed.metric("edgehone_generated_tokens_total") - generated < 3000
    assert browser.value("document.activeElement.id") == "prompt"
    browser.until("Number(document.querySelector('#tile-requests b').textContent) >= 3")

    choose(browser, "graph")
    browser.until("document.getElementById('inputs').value")
    example = browser.value("JSON.parse(document.getElementById('inputs').value)")["inputs"][0]
    browser.value("document.getElementById('run').focus()")
    browser.press("Enter")
    assert browser.until("document.querySelector('#outputs h2')?.textContent") == "scores: FP32 [1, 3]"
    cells = browser.value("[...document.querySelectorAll('#outputs tbody td')].map((one) => one.textContent)")
    scores = expected(np.array(example["data"]).reshape(example["shape"]))[0]
    assert np.allclose(list(map(float, cells[:3])), scores, atol=1e-5) and int(cells[3]) == scores.argmax()

    paths = {"/", "/models.json", "/metrics", "/readyz"}
    paths |= {"/v1/chat/completions", "/v2/models/graph", "/v2/models/graph/infer"}
    asked = [url for url in browser.requests if not url.startswith("data:")]
    assert {url.removeprefix(keyed.url) for url in asked} == paths


def test_the_page_needs_no_key_and_allows_its_own_script_only(keyed: Server) -> None:
    answer = httpx.get(keyed.url)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'" and "unsafe" not in answer.headers["content-security-policy"]
    assert KEY not in answer.text and "bundle" not in answer.text
    assert httpx.get(f"{keyed.url}/models.json").status_code == 401
    answer = httpx.get(f"{keyed.url}/models.json", headers={"Authorization": "Bearer another"})
    told, graph = answer.json()["models"]
    assert told["name"] == "bundle" and told["kind"] == "language" and told["chat"] is True
    assert graph == {"name": "graph", "kind": "graph"}
    assert "temperature" in told["options"]


ATTACK = (
    "<img src=x onerror='window.attacked=1'><script>window.attacked=1</script>"
    "<a href='javascript:window.attacked=1'>a</a>"
)


def test_what_a_model_says_is_text(browser: Browser, fake: Scripted) -> None:
    browser.visit(fake.url)
    browser.until("document.activeElement.id === 'prompt'")
    fake.answers = [[ATTACK[:9], ATTACK[9:]]]
    ask(browser, ATTACK)
    browser.until(FIGURES)
    assert browser.value(ANSWER) == ATTACK
    assert browser.value("document.querySelector('#log .mine .words').textContent") == ATTACK
    assert browser.value("document.querySelectorAll('#log img, #log script, #log a').length") == 0
    assert all(url.startswith((fake.url, "data:")) for url in browser.requests)


# Ways in which a text could become HTML or script, if the page's script had a fault.
FAULTS = (
    "document.body.innerHTML = text",
    "document.body.insertAdjacentHTML('beforeend', text)",
    "document.body.append(document.createRange().createContextualFragment(text))",
    "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.attacked = 1' }))",
    "Object.assign(document.body.appendChild(document.createElement('iframe')), { srcdoc: text })",
    "document.body.setAttribute('onclick', 'window.attacked = 1'), document.body.click()",
    "window.eval('window.attacked = 1')",
    "new Function('window.attacked = 1')()",
    "fetch('https://elsewhere.example/').catch((error) => { throw error })",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_policy_stops_what_a_fault_would_let_run(browser: Browser, fake: Scripted, fault: str) -> None:
    browser.visit(fake.url)
    attempt = f"try {{ await ({fault}); }} catch (error) {{ return error.name; }}"
    told = browser.value(f"(async (text) => {{ {attempt} }})({json.dumps(ATTACK)})")
    browser.value("new Promise((done) => setTimeout(done, 50))")
    assert browser.value("window.attacked") is None
    assert told in ("TypeError", "EvalError") or any(
        "Content Security Policy" in one for one in browser.errors
    )
    assert all(url.startswith((fake.url, "data:")) for url in browser.requests)


def test_the_stop_button_and_the_names_of_controls(browser: Browser, fake: Scripted) -> None:
    browser.visit(fake.url)
    browser.until("document.activeElement.id === 'prompt'")
    fake.answers = [["word "] * 2000]
    ask(browser, "Hello")
    browser.until(f"({ANSWER} ?? '').length > 20")
    assert browser.value("document.querySelector('#log .answer').ariaBusy") == "true"
    assert browser.value("document.getElementById('announcement').textContent") == "The model answers."
    browser.press("Tab")
    assert browser.value("document.activeElement.id") == "stop"
    nodes = browser.ask("Accessibility.getFullAXTree")["nodes"]
    controls = {"textbox", "button", "combobox", "spinbutton", "log", "region", "DisclosureTriangle"}
    named = [
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in controls
    ]
    assert ("button", "Stop") in named and ("textbox", "Message") in named and ("combobox", "Model") in named
    assert ("spinbutton", "Temperature") in named and all(name for _, name in named)
    browser.press("Enter")
    assert browser.until(FIGURES).endswith("stopped")
    assert browser.value("document.activeElement.id") == "prompt"
    assert browser.value("document.querySelector('#log .answer').ariaBusy") == "false"
    fake.answers = [["Hi"]]
    ask(browser, "Again")
    browser.until("!conversation.running")
    assert fake.asked[-1]["messages"][1]["content"].startswith("word word ")
    browser.value("document.getElementById('clear').focus()")
    browser.press("Enter")
    assert browser.value("document.querySelectorAll('#log article').length") == 0
    fake.answers = [["Hi"]]
    ask(browser, "New")
    browser.until("!conversation.running")
    assert [one["content"] for one in fake.asked[-1]["messages"]] == ["New"]


def test_the_end_of_an_answer_stays_in_view_unless_the_reader_scrolls_up(
    browser: Browser, fake: Scripted
) -> None:
    log = "document.getElementById('log')"
    left = f"{log}.scrollHeight - {log}.scrollTop - {log}.clientHeight"
    browser.visit(fake.url)
    browser.until("document.activeElement.id === 'prompt'")
    fake.answers = [["line\n" * 30] * 9]
    ask(browser, "Hello")
    browser.until(FIGURES)
    assert browser.value(f"{log}.scrollHeight") > 2000 and browser.value(left) < 2
    fake.answers = [["line\n"] * 2000]
    ask(browser, "Again")
    browser.until(f"({ANSWER} ?? '').length > 20")
    browser.value(f"{log}.focus()")
    browser.press("Home")
    browser.until(f"{log}.scrollTop === 0")
    browser.press("End")
    browser.until(f"{left} < 40 && view.follows")
    wheel = {"type": "mouseWheel", "x": 300, "y": 300, "deltaX": 0, "deltaY": -400}
    browser.ask("Input.dispatchMouseEvent", **wheel)
    browser.until(f"{left} > 300")
    assert browser.value("Boolean(conversation.running)")
    browser.press("Escape")
    browser.until(f"({FIGURES} ?? '').endsWith('stopped')")
    assert browser.value(left) > 300


def test_errors_are_told_and_the_text_comes_back(browser: Browser, fake: Scripted) -> None:
    browser.visit(fake.url)
    browser.until("document.activeElement.id === 'prompt'")
    error = {"error": {"message": "64 requests are waiting, as many as may", "type": "rate_limit_error"}}
    fake.answers = [JSONResponse(error, 429, {"retry-after": "7"}), ["Hel", "BREAK"]]
    ask(browser, "Hello")
    told = "document.querySelector('#log .answer:last-of-type .problem')?.textContent"
    assert browser.until(told) == "64 requests are waiting, as many as may (again in 7 s)"
    assert browser.value("document.getElementById('prompt').value") == "Hello"
    browser.press("Enter")
    assert (
        browser.until(f"document.querySelectorAll('#log .problem').length === 2 && {told}")
        == "The answer broke off."
    )
    browser.value("document.getElementById('temperature').focus()")
    browser.write("0.5")
    browser.value(
        "document.getElementById('system').value = 'Be short.'; document.getElementById('prompt').focus()"
    )
    fake.answers = [["Hi"]]
    browser.press("Enter")
    browser.until(FIGURES)
    assert fake.asked[-1]["temperature"] == 0.5
    assert [one["role"] for one in fake.asked[-1]["messages"]] == ["system", "user", "assistant", "user"]


def test_a_model_without_a_template_continues_texts(browser: Browser, fake: Scripted) -> None:
    browser.visit(fake.url)
    browser.until("document.activeElement.id === 'prompt'")
    choose(browser, "plain")
    browser.value("document.getElementById('prompt').focus()")
    fake.answers = [JSONResponse({"error": {"message": "no", "type": "x"}}, 400)]
    ask(browser, "Once")
    browser.until("document.querySelector('#log .problem')?.textContent")
    assert fake.asked[-1]["prompt"] == "Once" and "messages" not in fake.asked[-1]
    assert browser.value("document.getElementById('temperature')") is None


def test_a_picture_is_shown_and_sent_once(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "colours.png").write_bytes(COLOURS)
    (tmp_path / "notes.txt").write_text("no picture")
    with scripted(CHAT, SEES) as fake:
        browser.visit(fake.url)
        browser.until("chosen()?.name === 'chatty'")
        assert browser.value("document.getElementById('choose-picture').hidden")
        choose(browser, "sees")
        assert not browser.value("document.getElementById('choose-picture').hidden")
        choose_file(browser, tmp_path / "notes.txt")
        browser.until(
            "document.getElementById('picture-problem').textContent.includes('notes.txt is no PNG')"
        )
        choose_file(browser, tmp_path / "colours.png")
        browser.until("document.getElementById('preview').naturalWidth === 60")
        fake.answers = [["Colours."], ["Red."], ["Others."], JSONResponse({"error": {"message": "no"}}, 400)]
        for text, parts in (("What is this?", True), ("Which?", False)):
            ask(browser, text)
            browser.until("!conversation.running")
            content = fake.asked[-1]["messages"][-1]["content"]
            assert (content == text) is not parts
        first = fake.asked[-1]["messages"][0]["content"]
        assert first == shown(url(COLOURS), "What is this?")[0]["content"]
        assert browser.value("document.querySelectorAll('#log .picture').length") == 1
        for _ in range(2):  # another picture starts another conversation; one that is refused comes back
            choose_file(browser, tmp_path / "colours.png")
            browser.until("picture.url")
            ask(browser, "And this?")
            browser.until("!conversation.running")
            assert len(fake.asked[-1]["messages"]) == 1
        assert browser.value("picture.url") and not browser.errors[1:]  # the status 400


def test_a_graph_is_filled_in_and_its_outputs_are_tables(browser: Browser, fake: Scripted) -> None:
    browser.visit(fake.url)
    browser.until("document.activeElement.id === 'prompt'")
    inputs = [
        {"name": "image", "datatype": "FP32", "shape": [-1, 1, 4, 4]},
        {"name": "large", "datatype": "INT64", "shape": [-1, 70, 70]},
    ]
    scores = {"name": "scores", "datatype": "FP32", "shape": [1, 3], "data": [0.25, 0.5, 0.25]}
    words = {"name": "<b>words</b>", "datatype": "BYTES", "shape": [2], "data": [ATTACK, "b"]}
    fake.answers = [
        JSONResponse({"name": "digits", "inputs": inputs, "outputs": []}),
        JSONResponse({"model_name": "digits", "outputs": [scores, words]}),
        JSONResponse({"error": "image has 15 values"}, 400),
    ]
    choose(browser, "digits")
    browser.until("document.getElementById('inputs').value")
    browser.value("document.getElementById('run').focus()")
    browser.press("Enter")
    assert browser.until("document.querySelector('#outputs h2')?.textContent") == "scores: FP32 [1, 3]"
    cells = browser.value("[...document.querySelectorAll('#outputs tbody td')].map((one) => one.textContent)")
    assert cells == ["0.25", "0.5", "0.25", ATTACK, "b"]
    assert browser.value("document.querySelectorAll('#outputs b, #outputs script').length") == 0
    asked = fake.asked[-1]["inputs"]
    assert [(one["shape"], len(one["data"])) for one in asked] == [([1, 1, 4, 4], 16), ([1, 70, 70], 4900)]
    browser.press("Enter")
    assert browser.until("document.getElementById('infer-problem').textContent") == "image has 15 values"
    browser.value("document.getElementById('inputs').value = '{'")
    browser.press("Enter")
    browser.until(
        "document.getElementById('infer-problem').textContent.startsWith('The inputs are not JSON')"
    )


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (360, False), (360, True)])
def test_nothing_is_too_wide_or_pale(browser: Browser, fake: Scripted, width: int, dark: bool) -> None:
    browser.visit(fake.url, width, dark=dark)
    browser.value(f"{CHECKS}; 0")
    browser.until("document.activeElement.id === 'prompt'")
    fake.answers = [
        ["word " * 50, "x" * 300],
        JSONResponse({"error": {"message": "y" * 300, "type": "x"}}, 400),
    ]
    ask(browser, "Hello")
    browser.until(FIGURES)
    ask(browser, "Hello")
    browser.until("document.querySelector('#log .problem')?.textContent")
    check(browser)
    scores = {"name": "scores", "datatype": "FP32", "shape": [9, 10], "data": [-0.123456] * 90}
    fake.answers = [
        JSONResponse({"inputs": [{"name": "z" * 300, "datatype": "FP32", "shape": [1, 100]}]}),
        JSONResponse({"outputs": [scores, {**scores, "name": "y" * 300, "shape": [90]}]}),
    ]
    choose(browser, "digits")
    browser.until("document.getElementById('inputs').value")
    browser.value("document.getElementById('run').focus()")
    browser.press("Enter")
    browser.until("document.querySelector('#outputs h2')?.textContent")
    check(browser)


def test_what_is_said_of_the_state(browser: Browser, fake: Scripted) -> None:
    def told(**state: Any) -> Any:
        fake.state = {**fake.state, **state}
        browser.value("look(stateChanged)")
        return browser.value("loadModels().then(() => document.getElementById('state').textContent)")

    browser.visit(fake.url)
    browser.until("document.getElementById('state').textContent === 'ready'")
    assert told(proofs={"chatty": "all 48 tokens are equal"}) == "ready: all 48 tokens are equal"
    assert told(unloaded=["chatty"]) == "unloaded: the next request loads it"
    assert told(problems={"chatty": "the engine failed"}) == "the engine failed"
    fake.models = [PLAIN]
    assert told(problems={}) == "ready" and browser.value("chosen().name") == "plain"


def test_the_figures_of_the_last_minute(browser: Browser, fake: Scripted) -> None:
    def metrics(requests: int, errors: int, firsts: int) -> str:
        return "\n".join([
            "# HELP edgehone_requests_total Requests.",
            f'edgehone_requests_total{{path="/v1/a",status="200"}} {requests}.0',
            f'edgehone_requests_total{{path="/v1/a",status="503"}} {errors}.0',
            'edgehone_requests_total{path="/v1/a",status="499"} 5.0',
            'edgehone_running_requests{model="a b{} c"} 3.0', 'edgehone_waiting_requests{model="a b{} c"} 2.0',
            f'edgehone_first_token_seconds_count{{model="a"}} {firsts}',
            f'edgehone_first_token_seconds_sum{{model="a"}} {firsts * 0.25}',
        ])  # fmt: skip

    fake.metrics = metrics(100, 1, 4)
    browser.visit(fake.url)
    browser.until("samples.length")
    fake.metrics = metrics(110, 3, 8)
    browser.value("look(stateChanged)")
    assert browser.value("samples.at(-1).requests") == 118
    tiles = browser.value(
        "Object.fromEntries(TILES.map((one) => [one.name, document.querySelector(`#tile-${one.name} b`).textContent]))"
    )
    assert {**tiles, "tokens": ""} == {
        "requests": "12", "errors": "2", "running": "3", "waiting": "2", "tokens": "", "firsts": "250 ms"
    }  # fmt: skip
    fake.metrics = metrics(1, 0, 0)  # the server was started again
    browser.value("look(stateChanged)")
    assert browser.value("samples.length") == 1
