"""The store of results: what counts as finished, and what is flushed to the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgehone.execution import store


def write_result(folder: Path, text: str) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "weights").write_text("weights")
    (folder / "result.json").write_text(text)


RESULT = json.dumps({"ok": True, "facts": {"bytes": 7}, "seconds": 1.5, "clocks": None})


def test_a_stored_result_is_found_by_its_key(own_home: Path) -> None:
    assert store.find("key", "identity") is None
    with store.claim("key") as folder:
        write_result(folder, RESULT)
        stored = store.store_result("key", "identity", folder)
    found = store.find("key", "identity")
    assert found is not None and found.cached and not stored.cached
    assert found.facts == stored.facts == {"bytes": 7} and found.seconds == 1.5
    assert (found.out / "weights").read_text() == "weights"


@pytest.mark.parametrize(
    "text", ["", "{", RESULT[:-5], "[]", "null", '{"ok": true}', b"\xff\xfe".decode("latin-1"), "\0" * 40]
)
def test_an_empty_or_broken_result_is_a_job_that_is_not_finished(text: str, own_home: Path) -> None:
    with store.claim("key") as folder:
        write_result(folder, RESULT)
        store.store_result("key", "identity", folder)
    (own_home / "store" / "jobs" / "key" / "result.json").write_text(text)
    assert store.find("key", "identity") is None
    with store.claim("key") as folder:  # it can be run again
        write_result(folder, RESULT)
        store.store_result("key", "identity", folder)
    assert store.find("key", "identity") is not None


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the names of descriptors are in /proc")
def test_a_result_is_flushed_to_the_disk_before_it_is_renamed(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_fsync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        events.append("renamed")
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    with store.claim("key") as folder:
        write_result(folder, RESULT)
        (folder / "out" / "link").symlink_to("/nowhere")
        store.store_result("key", "identity", folder)
    before = events[: events.index("renamed")]
    assert {"weights", "out", "result.json", "key"} <= set(before) and "link" not in events
    assert events[events.index("renamed") + 1 :] == ["jobs"]


def test_a_failed_jobs_log_is_kept_without_its_output(own_home: Path) -> None:
    with store.claim("key") as folder:
        write_result(folder, RESULT)
        (folder / "log.txt").write_text("what went wrong")
        log = store.store_failure("key", folder)
    assert log.read_text() == "what went wrong" and not (log.parent / "out").exists()
    assert store.find("key", "identity") is None
