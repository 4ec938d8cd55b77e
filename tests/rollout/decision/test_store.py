"""Rollouts on disk: one of a name at a time, kill -9 at any moment, a full disk, another file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.core.errors import SetupError
from edgehone.rollout.decision.plan import Plan, Progress, Version
from edgehone.rollout.decision.rules import shipped
from edgehone.rollout.decision.store import NAME, Store, TwoRollouts, described

PLAN = Plan("a1", "chat", "ramp", Version("/one", "m1"), Version("/two", "m2", "chat:2"), shipped().table)


def test_a_rollout_is_read_as_it_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin(PLAN, Progress())
    progress = Progress("running", "", 0.05, 1, {"at": 2}, None, {"challenger": 7})
    store.save("a1", progress, ("stage", "5 %: requests"))
    store.close()
    (one,) = Store(tmp_path).all(only_open=True)
    assert (one.plan, one.progress, one.ended) == (PLAN, progress, None)
    told = described(one, Store(tmp_path).events("a1"))
    assert told["weight"] == 0.05 and told["events"][0]["says"] == "5 %: requests" and "rules" not in told


def test_a_second_rollout_of_a_name_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin(PLAN, Progress())
    with pytest.raises(TwoRollouts, match="a rollout of chat is under way"):
        store.begin(replace(PLAN, id="a2"), Progress())
    store.begin(replace(PLAN, id="b1", name="other"), Progress())
    store.save("a1", Progress("rolled back"), ("rolled back", "errors"))
    store.begin(replace(PLAN, id="a2"), Progress())
    assert [one.plan.id for one in store.all(only_open=True)] == ["b1", "a2"]


def test_the_chain_of_promotions_is_followed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number, (old, new, status) in enumerate(
        (("m1", "m2", "promoted"), ("m2", "m3", "rolled back"), ("m2", "m4", "promoted"))
    ):
        plan = replace(PLAN, id=str(number), champion=Version("/x", old), challenger=Version(f"/{new}", new))
        store.begin(plan, Progress())
        store.save(plan.id, Progress(status))  # type: ignore[arg-type]
    assert store.promoted("chat", "m1") == store.promoted("chat", "m2") == "/m4"
    assert store.promoted("chat", "m9") is None and store.promoted("other", "m1") is None


def test_wishes_are_taken_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin(PLAN, Progress())
    assert store.take_wish("a1") is None
    Store(tmp_path).wish("a1", "pause")
    assert [store.take_wish("a1"), store.take_wish("a1")] == ["pause", None]


_WRITER = """
import sys
from pathlib import Path
from edgehone.rollout.decision.plan import Plan, Progress, Version
from edgehone.rollout.decision.store import Store
store = Store(Path(sys.argv[1]))
store.begin(Plan("a1", "chat", "ramp", Version("/one", "m1"), Version("/two", "m2"), {}), Progress())
print("ready", flush=True)
for number in range(10**9):
    store.save("a1", Progress("running", str(number), number / 1e9), ("stage", str(number)))
"""


def test_a_killed_writer_leaves_a_whole_state(tmp_path: Path) -> None:
    for run in range(5):
        folder = tmp_path / str(run)
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            time.sleep(0.05 * run)
            process.send_signal(signal.SIGKILL)
        store = Store(folder)
        (one,) = store.all(only_open=True)
        events = store.events("a1")
        # What was saved and its step are there together, or not at all.
        assert one.progress.reason == (events[-1].says if events else "")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("no database" * 100)
    with pytest.raises(SetupError, match=NAME):
        Store(tmp_path)


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin(PLAN, Progress())
    database: sqlite3.Connection = store._database
    pages = database.execute("pragma page_count").fetchone()[0]
    database.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(SetupError, match="full"):
        for _ in range(200):
            store.save("a1", Progress("running"), ("stage", os.urandom(2000).hex()))
