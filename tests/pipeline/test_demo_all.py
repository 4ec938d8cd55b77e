"""The demo that goes all the way: a release under requests, then drift, noticed and answered; and its page."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.pipeline.record import Record
from examples.demo_all.place import prepared
from tests.finished import Finished
from tests.pipeline.nullpipeline import STAGES, Place, processes_about
from tests.report.browser import CHROMIUM, Browser
from tests.serve.server import wait_for

ROOT = Path(__file__).parents[2]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError, match="has other files"):
        prepared(tmp_path)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_folder_of_an_earlier_run_is_begun_anew(tmp_path: Path) -> None:
    first = prepared(tmp_path / "demo")
    (first.folder / "index.html").touch()
    again = prepared(tmp_path / "demo")
    assert not (again.folder / "index.html").exists()
    assert {again.operators.stat().st_mode & 0o777, again.signing_key.stat().st_mode & 0o777} == {0o600}


# The story with a server that is at hand, in the place of version 1.
SERVING = """
import asyncio, sys
from pathlib import Path
from edgehone.serve.load.started import server
import examples.demo_all.__main__ as demo

bundle = Path(sys.argv.pop())

async def serving(place):
    async with server(bundle, log=place.folder / "production.log"):
        (place.folder / "serves").touch()
        await asyncio.sleep(600)

demo.version_1 = serving
sys.exit(demo.main())
"""


@pytest.mark.whole
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_demo_and_its_server(
    finished: Finished, tmp_path: Path, number: signal.Signals
) -> None:
    out, bundle = tmp_path / "demo-all", shutil.copytree(finished.bundle, tmp_path / "bundle")
    words = [sys.executable, "-c", SERVING, "--out", str(out), str(bundle)]
    with (tmp_path / "log").open("wb") as log:
        demo = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)
    wait_for(lambda: (out / "serves").exists() or demo.poll() is not None, 60)
    assert demo.poll() is None, (tmp_path / "log").read_text()
    demo.send_signal(number)
    assert demo.wait(60) == 128 + number, (tmp_path / "log").read_text()
    assert not processes_about(bundle)


@pytest.mark.real
@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason="no browser: tools/system_packages.sh")
def test_the_demo_goes_all_the_way(real_home: Path, browser: Browser, tmp_path: Path) -> None:
    out = tmp_path / "demo-all"
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo_all", "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "EDGEHONE_HOME": str(real_home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(f"Open {out / 'index.html'}")
    assert {name: one.outcome for name, one in Record(out / "run").results().items()} == dict.fromkeys(
        STAGES, "passed"
    )
    place = Place(out, real_home)
    assert place.registry("show", "demo-model:production")["number"] == 2
    assert "ramp: promoted" in done.stdout and "no alert" in done.stdout
    assert "the requests are approved" in done.stdout
    assert not processes_about(out)
    _the_page_shows_it(browser, out / "index.html")


def _the_page_shows_it(browser: Browser, page: Path) -> None:
    browser.open(page)
    heads: Any = browser.value("[...document.querySelectorAll('h2')].map(one => one.textContent)")
    assert heads[:5] == [
        "Stages",
        "Rollout in production",
        "Watched",
        "Drift, planted and answered",
        "Further pages",
    ]
    boxes: Any = browser.value(
        "[...document.querySelectorAll('svg[role=img] text')].map(one => one.textContent)"
    )
    assert {*STAGES, "ramp: promoted", "in capitals", "approved"} <= set(boxes)
    links: Any = browser.value(
        "[...document.querySelectorAll('section a')].map(one => one.getAttribute('href')).filter(one => one[0] != '#')"
    )
    assert len(links) >= 5 and all((page.parent / one).is_file() for one in links)
    assert not browser.errors
