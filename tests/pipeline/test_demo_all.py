"""The demo that goes all the way: a release under requests, then drift, noticed and answered; and its page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.pipeline.record import Record
from examples.demo_all.place import prepared
from tests.pipeline.nullpipeline import STAGES, Place, processes_about
from tests.report.browser import CHROMIUM, Browser

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
