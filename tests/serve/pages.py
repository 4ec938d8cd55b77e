"""The page at / in a browser: servers, scripted and real, and what a reader does there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.finished import Finished
from tests.report.browser import Browser
from tests.serve.conftest import with_template
from tests.serve.graphs import null_graph
from tests.serve.scripted import Scripted, scripted
from tests.serve.server import Server, running

CHECKS = (Path(__file__).parents[1] / "report" / "checks.js").read_text("utf-8")
KEY = "a-key-of-this-test"
CHAT = {"name": "chatty", "kind": "language", "chat": True, "options": ["temperature", "seed"]}
PLAIN = {"name": "plain", "kind": "language", "chat": False, "options": []}
GRAPH = {"name": "digits", "kind": "graph"}
SEES = {"name": "sees", "kind": "language", "chat": True, "options": [], "pictures": True}
# Asks for its parts by the words that a user sees.
ANSWER = "document.querySelector('#log .answer:last-of-type .words')?.textContent"
FIGURES = "document.querySelector('#log .answer:last-of-type .figures')?.textContent"


@pytest.fixture(scope="module")
def keyed(_finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a language model and a graph that asks for a key."""
    folder = tmp_path_factory.mktemp("served")
    bundle = with_template(Path(shutil.copytree(_finished.bundle, folder / "bundle")))
    graph = null_graph(Path(shutil.copytree(_finished.bundle, folder / "graph")))
    (folder / "keys").write_text(f"{KEY}\nanother\n")
    (folder / "keys").chmod(0o600)
    words, env = ("--api-key-file", str(folder / "keys")), {"EDGEHONE_HOME": str(_finished.home)}
    with running(bundle, *words, also=[graph], env=env) as one:
        yield one


@pytest.fixture
def fake() -> Iterator[Scripted]:
    with scripted(CHAT, PLAIN, GRAPH) as one:
        yield one


def ask(browser: Browser, text: str) -> None:
    browser.write(text)
    browser.press("Enter")


def choose(browser: Browser, name: str) -> None:
    """Choose a model by the keyboard."""
    browser.value("document.getElementById('model').focus()")
    browser.write(name)
    browser.until(f"chosen().name === '{name}'")


def choose_file(browser: Browser, path: Path) -> None:
    found = browser.ask("Runtime.evaluate", expression="document.getElementById('picture')")
    browser.ask("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])


def check(browser: Browser) -> None:
    # What only screen readers get is cut on purpose.
    browser.value("document.getElementById('settings').open = true; askForKey('z'); announce(''); 0")
    assert browser.value("too_wide()") == []
    assert browser.value("pale()") == {}
