"""The journal: at most one remedy in flight, whatever the moment at which the program is killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import InputError, SetupError
from edgehone.operate.journal import Journal
from tests.disks import folder_in_memory

URL = "http://127.0.0.1:8080"
PLAN = {"kind": "serve", "before": {"a": 1}, "after": {"a": 2}}


def test_a_remedy_is_written_before_it_is_begun_and_one_is_in_flight(tmp_path: Path) -> None:
    journal = Journal(tmp_path, URL)
    incident = journal.open_incident("bundle", "latency", ["latency_p95"])
    first = journal.begin(incident.id, "one", PLAN, {"before": [1.0]})
    assert journal.in_flight() == first and first.state == "begun" and first.plan == PLAN
    with pytest.raises(SetupError, match="another remedy is in flight"):
        journal.begin(incident.id, "two", PLAN, {})
    for state in ("done", "undoing"):
        journal.move(first.id, state, "why")
        assert journal.in_flight() is not None
    journal.move(first.id, "undone")
    assert journal.in_flight() is None
    (tried,) = journal.tried(incident.id)
    assert (tried.state, tried.why) == ("undone", "why") and tried.ended
    assert journal.begin(incident.id, "two", PLAN, {}).name == "two"
    assert journal.begun_since(time.time() - 60) == 2 and journal.begun_since(time.time() + 60) == 0


def test_the_state_names_the_server(tmp_path: Path) -> None:
    first = Journal(tmp_path, URL)
    assert Journal(tmp_path, URL).id == first.id
    with pytest.raises(InputError, match="is the state of operating"):
        Journal(tmp_path, "http://127.0.0.1:8081")


def test_ways_of_serving_are_noted_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, URL)
    assert journal.see("bundle", {"path": "a"}, mine=False)
    assert not journal.see("bundle", {"path": "a"}, mine=True)
    assert journal.see("bundle", {"path": "b"}, mine=True)
    assert [(body["path"], mine) for _, body, mine in journal.ways("bundle")] == [("a", False), ("b", True)]


def test_a_file_that_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(SetupError, match="journal"):
        Journal(tmp_path, URL)


def _write(folder: Path, seed: int) -> None:
    """Begin and end remedies for ever."""
    journal, draw = Journal(folder, URL), random.Random(seed)
    incident = journal.open_incident("bundle", "latency", ["latency_p95"])
    while True:
        one = journal.begin(incident.id, "one", PLAN, {})
        journal.tell("begun", "one", incident.id)
        journal.move(one.id, "done")
        if draw.random() < 0.5:
            journal.move(one.id, "undoing", "no")
        journal.move(one.id, draw.choice(["kept", "undone"]))


def test_killed_at_random_moments_at_most_one_is_in_flight(tmp_path: Path) -> None:
    draw = random.Random(7)
    for seed in range(5):
        process = multiprocessing.get_context("spawn").Process(target=_write, args=(tmp_path, seed))
        process.start()
        while not (tmp_path / "journal.sqlite").exists():
            time.sleep(0.01)
        time.sleep(0.3 + 0.3 * draw.random())
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        journal = Journal(tmp_path, URL)
        flying = journal.in_flight()
        every = [one for incident in journal.incidents() for one in journal.tried(incident.id)]
        assert [one for one in every if one.state in ("begun", "done", "undoing")] == (
            [flying] if flying else []
        )
        if flying:
            journal.move(flying.id, "failed", "it was not done")
        journal.close()


@given(st.lists(st.sampled_from(["done", "undoing", "kept", "undone", "failed", "left"]), max_size=8))
def test_any_order_of_moves_keeps_one_in_flight_at_most(moves: list[Any]) -> None:
    with folder_in_memory() as folder:
        journal = Journal(folder, URL)
        incident = journal.open_incident(None, "errors", ["down"])
        one = journal.begin(incident.id, "one", PLAN, {})
        for state in moves:
            journal.move(one.id, state)
            assert (journal.in_flight() is not None) == (state in ("done", "undoing"))
        assert journal.open_incidents()[0].model is None
        journal.close()
