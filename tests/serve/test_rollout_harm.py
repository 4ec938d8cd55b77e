"""Rollouts while the machine misbehaves: a full disk, and a clock that jumps. The champion serves on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgehone.rollout.decision.store import Store
from tests.disks import small_file_system
from tests.serve.rollouts import KEY, RULES, act, begin, told, traffic, until, version
from tests.serve.server import Server, running, wait_for

pytestmark = pytest.mark.whole

HALF = {"ramp": [{"name": "50 %", "weight": 0.5, "seconds": 3600}]}
# Of the server's process: each look at the wall clock is a day before or after the last one.
_JUMPS = """
import datetime, itertools, time
sign = itertools.cycle((-86400.0, 86400.0))
real = time.time
time.time = lambda: real() + next(sign)
class Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=next(sign))
datetime.datetime = Jumping
"""


@pytest.fixture
def words(tmp_path: Path) -> Iterator[list[str]]:
    keys = tmp_path / "operators"
    keys.write_text("operator\n")
    keys.chmod(0o600)
    yield ["--admin-key-file", str(keys), "--state", str(tmp_path / "state")]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder for the state on a file system of 1 MB."""
    with small_file_system(tmp_path / "state", "1m") as place:
        yield place


def served(server: Server) -> str:
    found: str = server.client.get("/admin/bundles", headers=KEY).json()["bundles"][0]["path"]
    return found


def test_on_a_full_disk_the_champion_serves_on_and_the_end_is_written_when_there_is_space(
    chatty: Path, words: list[str], small: Path, tmp_path: Path
) -> None:
    second = version(chatty, tmp_path / "second")
    with running(chatty, *words, log=tmp_path / "log") as server, traffic(server.url) as seen:
        assert begin(server, second, rules={**RULES, "strategy": HALF}).status_code == 200
        wait_for(lambda: told(server)["answered"]["challenger"] > 3, 60)
        filling = small / "rest"
        with filling.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        found = until(server, "aborted")
        assert found["weight"] == 0 and "cannot be used" in found["reason"], found
        answered, statuses = found["answered"]["challenger"], sum(seen.statuses.values())
        wait_for(lambda: sum(seen.statuses.values()) > statuses + 20, 60)
        assert told(server)["answered"]["challenger"] == answered
        (kept,) = Store(small).all()
        assert kept.progress.status == "running"
        filling.unlink()
        wait_for(lambda: Store(small).all()[0].progress.status == "aborted", 60)
        wait_for(lambda: act(server, "abort").status_code == 404, 60)
    assert {*seen.statuses} == {200} and not seen.lost
    assert "the end of the rollout is not on disk yet" in (tmp_path / "log").read_text()


def test_a_clock_that_jumps_by_days_decides_nothing(chatty: Path, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_JUMPS)
    second = version(chatty, tmp_path / "second")
    rules = {**RULES, "patience_seconds": 3600}
    with running(chatty, *words, env={"PYTHONPATH": str(tmp_path / "site")}) as server:
        with traffic(server.url) as seen:
            assert begin(server, second, rules=rules).status_code == 200
            found = until(server, "promoted", "rolled back", "aborted", "not enough traffic")
        times = [one["at"] for one in found["events"]]
        assert times != sorted(times)  # it did jump
        assert found["status"] == "promoted" and {*seen.statuses} == {200}, found
        kinds = [one["kind"] for one in found["events"]]
        assert kinds == ["stage", "passed", "stage", "passed", "stage", "passed", "stage", "promoted"]
        assert served(server) == str(second)
