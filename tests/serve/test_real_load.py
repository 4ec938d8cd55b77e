"""Real engines that are replaced and killed under a load that does not wait for them."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serve.open_loop import OpenLoop
from tests.serve.server import Server, running

pytestmark = [pytest.mark.real, pytest.mark.whole, pytest.mark.xdist_group("engines")]
KEY = {"authorization": "Bearer operator"}
PER_SECOND = 12.0
# The longest time from a kill to the answer of a request that the killed engine had.
PROMPT = 20.0
# Enough places for the requests that come while an engine is loaded beside the one that answers.
WORDS = ("--max-queue", "240")


def swap_under_load(server: Server, folders: list[Path], times: int) -> None:
    """Replace the bundle by an equal one again and again: no request fails."""
    with OpenLoop(server, PER_SECOND) as load:
        time.sleep(0.5)
        for at in range(times):
            asked = {"path": str(folders[at % 2]), "name": "bundle"}
            answer = server.post("/admin/bundles", asked, headers=KEY)
            assert answer.status_code == 200, answer.text
        time.sleep(0.5)
    assert len(load.outcomes) > PER_SECOND
    assert {one.status for one in load.outcomes} == {200}
    assert all(one.right for one in load.outcomes)


def kill_under_load(server: Server, times: int) -> None:
    """Kill the engine, or a program that it has started, again and again: nothing hangs, and nothing is wrong."""
    chance, kills = random.Random(1), []
    with OpenLoop(server, PER_SECOND) as load:
        for at in range(times):
            time.sleep(chance.uniform(0.2, 0.8))
            engine = server.engine()
            victims = [engine, *engine.children()]
            kills.append(time.monotonic())
            victims[at % len(victims)].kill()
            server.wait_until(False)
            server.wait_until(True)
        time.sleep(0.5)
    assert {one.status for one in load.outcomes} <= {200, 503}
    assert all(one.right for one in load.outcomes)
    for killed in kills:
        in_it = [
            (one.ended - killed, killed - one.sent, one.status)
            for one in load.outcomes
            if one.sent < killed < one.ended
        ]
        assert all(late < PROMPT for late, _, _ in in_it), in_it
    assert [one.status for one in load.outcomes if one.sent > kills[-1]].count(200) > 0


def both(bundle: Path, tmp_path: Path, swaps: int, kills: int) -> None:
    """Do both with a server of the bundle."""
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    keys = tmp_path / "operators"
    keys.write_text("operator\n")
    keys.chmod(0o600)
    with running(bundle, *WORDS, "--admin-key-file", str(keys)) as server:
        swap_under_load(server, [other, bundle], swaps)
        kill_under_load(server, kills)


@pytest.mark.parametrize("name", ["openvino", "olive"])
def test_an_engine_is_replaced_and_killed(
    name: str, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    both(bundle_of(name), tmp_path, 1, 2)


@pytest.mark.long
@pytest.mark.parametrize("name", ["llamacpp", "olive", "openvino"])
def test_an_engine_is_replaced_10_times_and_killed_50_times(
    name: str, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    both(bundle_of(name), tmp_path, 10, 50)
