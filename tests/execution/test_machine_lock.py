"""The machine lock: builds overlap, measurements exclude, and a waiting measurement is not passed by later builds."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from edgehone.execution.machine_lock import machine_lock

PATIENCE = 20.0


class Holder(threading.Thread):
    """Holds the lock until `release` is set."""

    def __init__(self, exclusive: bool) -> None:
        super().__init__(daemon=True)
        self.exclusive = exclusive
        self.waits, self.has, self.release = threading.Event(), threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with machine_lock(self.exclusive, lambda held: self.waits.set()):
            self.has.set()
            self.release.wait(PATIENCE)


def ended(*holders: Holder) -> None:
    for holder in holders:
        holder.release.set()
        holder.join(PATIENCE)
        assert not holder.is_alive()


def test_builds_overlap(own_home: Path) -> None:
    first, second = Holder(exclusive=False), Holder(exclusive=False)
    assert first.has.wait(PATIENCE) and second.has.wait(PATIENCE)
    ended(first, second)


def test_a_measurement_waits_for_a_build_and_later_builds_wait_for_the_measurement(own_home: Path) -> None:
    build = Holder(exclusive=False)
    assert build.has.wait(PATIENCE)
    measurement = Holder(exclusive=True)
    assert measurement.waits.wait(PATIENCE)
    later = Holder(exclusive=False)
    assert later.waits.wait(PATIENCE)
    time.sleep(0.3)
    assert not measurement.has.is_set() and not later.has.is_set()
    ended(build)
    assert measurement.has.wait(PATIENCE)
    time.sleep(0.3)
    assert not later.has.is_set()
    ended(measurement)
    assert later.has.wait(PATIENCE)
    ended(later)
