"""How many threads of other programs want a processor: running and waiting ones, without the program's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgehone.device import demand

SECOND = 10**9


def thread(proc: Path, process: int, number: int, ran: int, waited: int) -> None:
    folder = proc / str(process) / "task" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schedstat").write_text(f"{ran} {waited} 7\n")


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Let two seconds pass, in which something happens."""

    def install(happens: Callable[[], None]) -> None:
        clock = [0.0]

        def sleep(seconds: float) -> None:
            clock[0] += 2.0
            happens()

        monkeypatch.setattr("edgehone.device.demand.time.sleep", sleep)
        monkeypatch.setattr("edgehone.device.demand.time.monotonic", lambda: clock[0])

    return install


def test_waiting_threads_count_and_own_ones_do_not(
    tmp_path: Path, during: Callable[[Callable[[], None]], None]
) -> None:
    for process, number in ((1, 1), (2, 2), (2, 3), (9, 9)):
        thread(tmp_path, process, number, SECOND, 0)

    def happens() -> None:
        thread(tmp_path, 1, 1, 2 * SECOND, SECOND)  # ran for a second and waited for another
        thread(tmp_path, 2, 2, 3 * SECOND, 0)
        thread(tmp_path, 2, 3, SECOND, 0)  # slept
        thread(tmp_path, 9, 9, 3 * SECOND, 8 * SECOND)
        thread(tmp_path, 5, 5, SECOND, 0)  # started meanwhile

    during(happens)
    assert demand.others_demand({9}, proc=tmp_path) == pytest.approx((2 + 2 + 0 + 1) / 2)


def test_an_id_that_is_used_again_began_at_zero(
    tmp_path: Path, during: Callable[[Callable[[], None]], None]
) -> None:
    thread(tmp_path, 1, 1, 50 * SECOND, 0)
    during(lambda: thread(tmp_path, 1, 1, SECOND, 0))
    assert demand.others_demand(set(), proc=tmp_path) == pytest.approx(0.5)


def test_a_kernel_that_does_not_count_is_unknown(
    tmp_path: Path, during: Callable[[Callable[[], None]], None]
) -> None:
    during(lambda: None)
    assert demand.others_demand(set(), proc=tmp_path) is None
    (tmp_path / "1" / "task" / "1").mkdir(parents=True)
    (tmp_path / "1" / "task" / "1" / "schedstat").write_text("")
    assert demand.others_demand(set(), proc=tmp_path) is None


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_this_machine_tells() -> None:
    found = demand.others_demand(set(), seconds=0.05)
    assert found is not None and found >= 0
