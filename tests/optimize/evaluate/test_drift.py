"""A run on a machine whose speed varied between earlier runs: wider intervals of times, the same choice, and a note."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import edgehone
from edgehone.core.errors import SetupError
from tests.finished import Finished


@pytest.fixture
def known(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The database of speeds in a copy of the finished run's home, with that run only."""
    home = tmp_path / "home"
    home.mkdir()
    for entry in finished.home.iterdir():
        if not entry.name.startswith("speeds.sqlite"):
            (home / entry.name).symlink_to(entry)
    monkeypatch.setenv("EDGEHONE_HOME", str(home))
    return home / "speeds.sqlite"


@pytest.mark.parametrize("one_varies", [False, True])
def test_earlier_runs_at_other_speeds_widen_the_intervals(
    finished: Finished, known: Path, tmp_path: Path, one_varies: bool
) -> None:
    """All artifacts were faster or slower; and, if `one_varies`, one of them by more than the others."""
    before = finished.optimize(tmp_path / "first")
    assert not any("own speed varied" in note for note in before.notes)
    with closing(sqlite3.connect(known)) as database, database:
        for hours, factor in ((1, 1.2), (2, 0.85)):
            database.execute(
                "insert into speeds select machine, artifact, run - ?, latency_ms * ? * "
                "case when artifact = (select min(artifact) from speeds) then ? else 1 end "
                "from speeds where run = (select max(run) from speeds)",
                (3600 * hours, factor, 1 + (factor - 1) / 5 if one_varies else 1),
            )
    after = finished.optimize(tmp_path / "second")
    assert any("own speed varied" in note and "between 3 runs" in note for note in after.notes)
    assert after.chosen == before.chosen
    assert one_varies or after.reason == before.reason  # it names the interval of the speed-up
    for old, new in zip(before.candidates, after.candidates, strict=True):
        for now, earlier in zip(new.verdicts, old.verdicts, strict=True):
            # The wider interval of a ratio may reach over a threshold, but a verdict is never turned round.
            assert now.word == earlier.word or (one_varies and now.word == "not decided")
        if old.status != "ok":
            continue
        mine, his = new.figure("workload_latency_ms"), old.figure("workload_latency_ms")
        assert mine.value == his.value and mine.factor > max(1.5, his.factor)
        for name in ("load_cold_ms", "peak_memory_bytes"):
            assert new.figure(name) == old.figure(name)
        mine, his = new.figure("speedup"), old.figure("speedup")
        assert mine.value == his.value
        if one_varies:
            assert mine.factor > 1.05 * his.factor
        else:
            assert mine.factor == pytest.approx(his.factor)


def test_a_broken_database_is_named(finished: Finished, known: Path, tmp_path: Path) -> None:
    known.write_bytes(b"not a database, but longer than a header of one" * 10)
    with pytest.raises(SetupError, match=r"speeds\.sqlite cannot be used as a database") as caught:
        finished.optimize(tmp_path / "out")
    assert caught.value.hint and "mv " in caught.value.hint
    assert not (tmp_path / "out").exists()
    assert edgehone.read(finished.bundle)
