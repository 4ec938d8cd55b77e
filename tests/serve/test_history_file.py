"""The file of the history: damage, removal, full disks, kill -9, and files that are none."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgehone.serve.history.query import Asked, read
from edgehone.serve.history.recorder import Recorder
from edgehone.serve.history.store import COARSE, FILE, FINE, Store, Unreadable
from tests.serve.histories import NOW, counted, fill, no_reading, said_nothing
from tests.serve.test_history import VALUE


def test_rows_of_an_earlier_run_that_a_wrong_clock_wrote_are_not_told_and_get_old(tmp_path: Path) -> None:
    path = tmp_path / FILE
    fill(path, 3, since=NOW + 10 * 86_400).close()
    store = fill(path, 2)
    assert read(path, Asked(NOW - 1, None, 10), NOW + 60).at == [NOW, NOW + 10]
    store.write({COARSE: {VALUE: 1.0}}, NOW + 20)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT max(at) FROM rows").fetchone() == ((NOW + 20) * 1000,)


@pytest.mark.parametrize("damage", ["text", "middle", "version", "empty-folder"])
def test_a_damaged_file_is_kept_aside_and_a_new_one_begun(tmp_path: Path, damage: str) -> None:
    path = tmp_path / FILE
    fill(path, 200, 50).close()
    if damage == "text":
        path.write_text("no database" * 1000)
    elif damage == "middle":
        content = bytearray(path.read_bytes())
        content[4096 : len(content) - 4096] = b"\xa5" * (len(content) - 8192)
        path.write_bytes(content)
    elif damage == "version":
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
    else:
        path.unlink()
        path.mkdir()
    said = list[str]()
    history = Recorder(path, no_reading, said.append)
    history.write({FINE: counted(5.0)})
    if damage == "empty-folder":
        assert len(said) == 1 and "cannot be written" in said[0] and "tried again" in said[0]
        history.write({FINE: counted(5.0)})
        path.rmdir()
        history.write({FINE: counted(5.0)})
        assert len(said) == 2 and "written again" in said[1]
    else:
        assert len(said) == 1 and "damaged" in said[0] and f"{FILE}.damaged" in said[0]
        assert (tmp_path / f"{FILE}.damaged").exists()
    found = read(path, Asked(time.time() - 60, None, 10), time.time() + 1)
    assert [one.metric for one, _ in found.series] == ["edgehone_x"]
    history.close()
    history.write({FINE: counted(6.0)})  # after the end nothing is written


def test_damage_while_it_is_open_is_noticed_too(tmp_path: Path) -> None:
    path, said = tmp_path / FILE, list[str]()
    history = Recorder(path, no_reading, said.append)
    for _ in range(3):
        history.write({FINE: counted(1.0)})
    history.close()
    history = Recorder(path, no_reading, said.append)
    history.write({FINE: counted(1.0)})
    path.write_bytes(b"\xa5" * path.stat().st_size)
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").write_bytes(b"\xa5" * 100_000)
    for _ in range(3):
        history.write({FINE: counted(2.0), COARSE: counted(2.0)})
    assert any("damaged" in one for one in said) and len(said) <= 3, said
    assert len(read(path, Asked(time.time() - 60, None, 100), time.time() + 1).at) >= 1
    history.close()


def test_a_file_that_is_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / FILE
    history = Recorder(path, no_reading, said_nothing)
    history.write({FINE: counted(1.0)})
    for one in tmp_path.iterdir():
        one.unlink()
    history.write({FINE: counted(2.0)})
    assert read(path, Asked(time.time() - 60, None, 10), time.time() + 1).series[0][1].tolist() == [2.0]
    history.close()


def written(path: Path) -> list[float]:
    """Return the first figure of each fine row."""
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT figures FROM rows WHERE resolution = 10 ORDER BY at").fetchall()
    return [float(np.frombuffer(blob, np.float32)[0]) for (blob,) in rows]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond a size: as on a full disk, but with EFBIG."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_disk_that_takes_no_more_is_said_once_and_written_again_later(tmp_path: Path) -> None:
    path, said = tmp_path / FILE, list[str]()
    history = Recorder(path, no_reading, said.append)
    history.write({FINE: counted(1.0)})
    with largest_file(1024):
        for _ in range(5):
            history.write({FINE: counted(2.0)})
    assert len(said) == 1 and "cannot be written" in said[0]
    history.write({FINE: counted(3.0)})
    assert len(said) == 2 and "written again" in said[1]
    history.close()
    assert written(path)[0] == 1.0 and written(path)[-1] == 3.0


WRITER = """
import sys, time
from pathlib import Path
from edgehone.serve.history.figures import Series
from edgehone.serve.history.store import COARSE, FINE, Store
store = Store(Path(sys.argv[1]))
now = time.time() - 3600
for index in range(10**9):
    figures = {Series(f"m{number}", "value", ()): float(index) for number in range(40)}
    store.write({FINE: figures, COARSE: figures} if index % 7 == 0 else {FINE: figures}, now + index)
    print(index, flush=True)
"""


@pytest.mark.parametrize("rows", [1, 20, 60])
def test_kill_9_leaves_a_file_with_all_rows_that_were_written(tmp_path: Path, rows: int) -> None:
    path = tmp_path / FILE
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        last = [int(process.stdout.readline()) for _ in range(rows)][-1]
        os.kill(process.pid, signal.SIGKILL)
    found = written(path)
    store = Store(path)  # raises Unreadable if it is damaged
    store.write({FINE: {VALUE: 1.0}}, time.time())
    store.close()
    assert found[: last + 1] == list(range(last + 1))


def test_another_file_is_not_taken_for_a_history(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("CREATE TABLE mine (a)")
    with pytest.raises(Unreadable, match="layout 0"):
        Store(tmp_path / FILE)
