"""Planted problems of a server of the null backend: each is noticed, rightly named, and remedied or escalated."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.operate.loop import Operator
from edgehone.operate.options import PATIENCE, Options
from edgehone.operate.seeing import MachineHistory
from edgehone.operate.server import Server as OperatedServer
from edgehone.registry.push import push
from edgehone.registry.session import open_registry
from tests.operate.operated import TIMES, Run, Traffic, certificate_of, change, operating, served
from tests.serve.conftest import chatty
from tests.serve.graphs import asked, expected, null_graph
from tests.serve.server import Server, running, wait_for
from tests.serve.test_change import copied, edit, key_file

__all__ = ["chatty", "key_file"]  # fixtures
pytestmark = pytest.mark.whole


@pytest.fixture
def operated(chatty: Path, key_file: Path) -> Iterator[Server]:
    with running(chatty, "--admin-key-file", str(key_file)) as server:
        yield server


def short(number: int) -> dict[str, Any]:
    """Prompts of different lengths, answers of a few tokens: 20 ms."""
    return {"model": "bundle", "prompt": "To the " * (20 + 10 * (number % 5)), "max_tokens": 4}


@pytest.fixture
def baseline(chatty: Path, tmp_path: Path) -> Path:
    return certificate_of(chatty, tmp_path / "certificate.json", {"served_p95_s": 0.03, "served_p50_s": 0.02})


def test_the_prefix_cache_is_switched_on_again(
    operated: Server, key_file: Path, baseline: Path, tmp_path: Path
) -> None:
    words = ("--baseline", str(baseline))
    with (
        Traffic(operated, short).flowing() as traffic,
        operating(operated, key_file, tmp_path / "state", *words) as run,
    ):
        first = served(operated)["bundle"]["change"]
        change(operated, settings={"prefix_cache": False})
        noticed = run.wait_for("noticed", 60, lambda one: "latency" in one.detail["alert"])
        assert noticed.detail["alert"].startswith("latency")
        diagnosed = run.wait_for("diagnosed", where=lambda one: one.incident == noticed.incident)
        assert "prefix cache off" in [one["name"] for one in diagnosed.detail["causes"]]
        kept = run.wait_for("kept", 90)
        assert kept.detail["remedy"] == "prefix cache on"
        run.wait_for("closed", 90)
        assert served(operated)["bundle"]["settings"] == {"prefix_cache": True}
        assert [one.name for one in run.remedies()] == ["prefix cache on"]
        assert first["path"] == served(operated)["bundle"]["change"]["path"]
    assert {*traffic.statuses} <= {200, 429}


def settled(server: Server, first: dict[str, Any]) -> None:
    """The server serves as it did, and is ready."""
    now = served(server)["bundle"]
    assert now["change"] == first["change"] and now["id"] == first["id"] and now["state"] == "ready"


def test_an_engine_that_was_killed_once_is_left_to_the_server(
    operated: Server, chatty: Path, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Looks are made here, one while the engine is started again, and the patience has no end: with shortened durations
    # a machine with much other work would be too slow to start an engine, and limits of times would be passed.
    monkeypatch.setitem(PATIENCE, "errors", math.inf)
    untimed = certificate_of(chatty, tmp_path / "certificate.json", {})
    first, restarts = served(operated)["bundle"], operated.metric("edgehone_engine_restarts")
    # The window of `restarts`, an hour, becomes 15 s.
    options = Options(every=5.0, times=4 * TIMES, baseline=untimed)
    alerts = ("restarts", "engine_failures", "error_rate", "not_ready")
    told: list[tuple[str, Any]] = []
    look = Operator(
        OperatedServer(operated.url, "operator"), tmp_path / "state", options, lambda *one: told.append(one)
    )

    def closed() -> bool:
        look.step()
        time.sleep(0.05)
        noticed = {
            fields["incident"] for kind, fields in told if kind == "noticed" and fields["alert"] in alerts
        }
        return bool(noticed & {fields["incident"] for kind, fields in told if kind == "closed"})

    with Traffic(operated, short).flowing():
        for _ in range(3):
            look.step()
        operated.engine().kill()
        wait_for(lambda: operated.metric("edgehone_engine_restarts") > restarts)
        look.step()
        operated.wait_until(True)
        wait_for(closed)
    look.end()
    assert "begun" not in {kind for kind, _ in told}, told
    settled(operated, first)


def test_a_worse_bundle_is_taken_back(
    operated: Server, chatty: Path, key_file: Path, baseline: Path, tmp_path: Path
) -> None:
    first = served(operated)["bundle"]["change"]
    slow = copied(chatty, tmp_path / "slow")
    edit(slow, recipe={**edgehone.read(slow).manifest.recipe, "settings": {"hurry": 0.05}})
    with (
        Traffic(operated, short).flowing() as traffic,
        operating(operated, key_file, tmp_path / "state", "--baseline", str(baseline)) as run,
    ):
        run.wait_for("begins", 30)
        change(operated, path=str(slow))
        diagnosed = run.wait_for("diagnosed", 90, lambda one: "latency" in str(one.detail["causes"]))
        assert "served otherwise than before" in [one["name"] for one in diagnosed.detail["causes"]]
        kept = run.wait_for("kept", 90)
        assert kept.detail["remedy"] == "the way it was served before"
        assert served(operated)["bundle"]["change"] == first
    assert {*traffic.statuses} <= {200, 429}


class Seldom(Traffic):
    """A request each 2.5 s."""

    def _send(self, number: int, clients: int) -> None:
        while not self._ended.wait(2.5):
            begun = time.monotonic()
            self.statuses.append(self.server.post("/v1/completions", self.body(number)).status_code)
            self.seconds.append(time.monotonic() - begun)


@pytest.mark.long
def test_a_model_that_requests_load_again_and_again_stays_loaded(
    chatty: Path, key_file: Path, baseline: Path, tmp_path: Path
) -> None:
    words = ("--baseline", str(baseline))
    with (
        running(chatty, "--unload-after", "1", "--admin-key-file", str(key_file)) as server,
        Seldom(server, short).flowing(1) as traffic,
        # 24 requests a minute, which is the window of latencies: 20 are needed.
        operating(server, key_file, tmp_path / "state", *words, times=5.0) as run,
    ):
        run.wait_for("diagnosed", 300, lambda one: "requests wait until the model is loaded" in one.says)
        kept = run.wait_for("kept", 300)
        assert kept.detail["remedy"] == "the model stays loaded"
        assert served(server)["bundle"]["change"]["keep"] and served(server)["bundle"]["state"] == "ready"
    assert {*traffic.statuses} == {200}


def test_hostile_requests_are_a_humans_matter(operated: Server, key_file: Path, tmp_path: Path) -> None:
    first = served(operated)["bundle"]
    page = tmp_path / "told"
    tell = f"sh -c 'cat >> {page}; echo >> {page}'"
    with operating(operated, key_file, tmp_path / "state", "--command", tell) as run:
        run.wait_for("begins", 30)
        begun = time.monotonic()
        # On a machine that is busy with other tests a human is called about that, too.
        while not page.exists() or "security" not in page.read_text():
            assert time.monotonic() - begun < 60
            for _ in range(20):
                operated.post("/v1/completions", b"{")
                operated.post("/v1/completions", {"model": "bundle", "prompt": "To", "max_tokens": 1})
        diagnosed = run.wait_for("diagnosed", where=lambda one: "hostile" in one.says)
        assert diagnosed.detail["causes"][0]["name"] == "hostile or broken requests"
        titles = [json.loads(line)["title"] for line in page.read_text().splitlines()]
        assert any("security" in one for one in titles) and not run.remedies()
    settled(operated, first)


def test_an_engine_that_leaks_is_replaced(chatty: Path, key_file: Path, tmp_path: Path) -> None:
    edit(chatty, recipe={**edgehone.read(chatty).manifest.recipe, "settings": {"leaks_kb": 400}})
    with running(chatty, "--admin-key-file", str(key_file)) as server:
        first = server.engine().memory_info().rss + sum(
            one.memory_info().rss for one in server.text_processes()
        )
        certificate = certificate_of(chatty, tmp_path / "c.json", {"served_model_memory_bytes": first * 1.5})
        with (
            Traffic(server, short).flowing(),
            operating(server, key_file, tmp_path / "state", "--baseline", str(certificate)) as run,
        ):
            diagnosed = run.wait_for("diagnosed", 120, lambda one: "grow" in one.says)
            assert "the server's memory grows" in [one["name"] for one in diagnosed.detail["causes"]]
            kept = run.wait_for("kept", 90)
            assert kept.detail["remedy"] == "a new engine against a leak"


def test_a_dry_run_says_what_it_would_do(
    operated: Server, key_file: Path, baseline: Path, tmp_path: Path
) -> None:
    words = ("--baseline", str(baseline), "--dry-run")
    with (
        Traffic(operated, short).flowing(),
        operating(operated, key_file, tmp_path / "state", *words) as run,
    ):
        run.wait_for("begins", 30)
        change(operated, settings={"prefix_cache": False})
        # On a machine that is busy with other tests a human would be called about that, too.
        would = run.wait_for("would", 90, lambda one: "call a human" not in one.says)
        assert would.says.startswith("prefix cache on: prefix_cache = True") and not run.remedies()
    assert served(operated)["bundle"]["settings"] == {"prefix_cache": False}


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.long)])
def test_killed_at_random_moments_it_goes_on(
    operated: Server, key_file: Path, baseline: Path, tmp_path: Path, kills: int
) -> None:
    draw, words = random.Random(kills), ("--baseline", str(baseline), "--budget", "1000")
    with Traffic(operated, short).flowing() as traffic:
        change(operated, settings={"prefix_cache": False})
        for _ in range(kills):
            with operating(operated, key_file, tmp_path / "state", *words) as run:
                run.wait_for("begins", 30, lambda one: True)
                time.sleep(draw.uniform(0.0, 8.0 if kills > 2 else 5.0))
                run.kill()
                assert len(_flying(run)) <= 1
                assert served(operated)["bundle"]["state"] == "ready"
            if [one for one in run.remedies() if one.state == "kept"]:
                change(operated, settings={"prefix_cache": False})  # planted anew
        with operating(operated, key_file, tmp_path / "state", *words) as run:
            # On a busy machine a remedy may be undone, or a human called: what was begun is ended in any case.
            run.wait_for("begins", 30, lambda one: True)
            begun = time.monotonic()
            while not run.remedies() or _flying(run):
                assert time.monotonic() - begun < 120, run.remedies()
                time.sleep(0.5)
            kept = run.remedies()[-1].state == "kept"
    assert {*traffic.statuses} <= {200, 429}
    assert served(operated)["bundle"]["settings"] == {"prefix_cache": kept}


def _flying(run: Run) -> list[Any]:
    """The remedies that are half-way."""
    return [one for one in run.remedies() if one.state in ("begun", "done", "undoing")]


def test_clean_bursty_traffic_without_an_action(operated: Server, key_file: Path, tmp_path: Path) -> None:
    """12 s, in which windows of 300 s pass twice. The long form is in test_calm.py, an hour `make bench-calm`."""
    first = served(operated)["bundle"]
    certificate = certificate_of(
        first_path(first), tmp_path / "c.json", {"served_p95_s": 2.0, "served_p50_s": 1.0}
    )
    with (
        Traffic(operated, short).flowing() as traffic,
        operating(operated, key_file, tmp_path / "state", "--baseline", str(certificate)) as run,
    ):
        run.wait_for("begins", 30)
        time.sleep(12)
        assert not run.remedies() and {*traffic.statuses} <= {200, 429}
    settled(operated, first)


def first_path(model: dict[str, Any]) -> Path:
    return Path(model["change"]["path"])


def test_a_clock_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    history, real = MachineHistory(1.0), time.time
    history.look(None)
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    history.look(None)
    assert 3599 < history.take_jump() < 3601 and history.take_jump() == 0.0 and history.clock_jump_s > 3599


@pytest.mark.usefixtures("finished")
def test_the_version_before_is_taken_from_the_registry(spoiled: Path, key_file: Path, tmp_path: Path) -> None:
    """Users send back labels that call two of three answers of the newest version wrong."""
    registry, graph = open_registry(str(tmp_path / "registry")), null_graph(spoiled)
    for number in (1, 2):
        newest = copied(graph, tmp_path / f"v{number}" / "bundle")
        edit(newest, artifact_key=f"{number:064x}")
        push(registry, newest, name="shop", by="ann")
    certificate = certificate_of(newest, tmp_path / "c.json", {"accuracy": 0.9})
    words = ("--baseline", str(certificate), "--registry", str(tmp_path / "registry"))
    with (
        running(newest, "--admin-key-file", str(key_file)) as server,
        operating(server, key_file, tmp_path / "state", *words) as run,
    ):
        run.wait_for("begins", 30)
        begun, sent = time.monotonic(), 0
        while not run.events("done"):
            assert time.monotonic() - begun < 120, [one.says for one in run.events()]
            for wrong in (1, 1, 0):
                sent += 1
                row = [float(sent % 5), 1.0, -1.0, 0.5]
                body = asked([row], id=str(sent))
                assert server.post("/v2/models/bundle/infer", body).status_code == 200
                label = (int(expected([row]).argmax()) + wrong) % 3
                told = server.post("/v1/feedback", {"id": str(sent), "label": label})
                assert told.status_code == 200 and told.json()["correct"] is (not wrong), told.text
        noticed = run.wait_for("noticed", where=lambda one: one.detail["alert"] == "accuracy")
        done = run.wait_for("done", where=lambda one: one.incident == noticed.incident)
        assert done.detail["remedy"] == "the previous version"
        now = Path(served(server)["bundle"]["change"]["path"])
        assert edgehone.read(now).manifest.artifact_key == f"{1:064x}"
        assert now.is_relative_to(run.folder) and edgehone.verify(edgehone.read(now)) == []
