"""Keep a share of every processor busy in random bursts of 5 to 200 ms, as other programs do."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def busy(share: float, seed: int = 0) -> Iterator[None]:
    """Run one process for each processor that is busy for that share (0 to 1) of the time, until the block ends."""
    context = multiprocessing.get_context("fork")
    processes = []
    for number in range(len(os.sched_getaffinity(0)) if share > 0 else 0):
        processes.append(context.Process(target=_burn, args=(share, seed * 1000 + number), daemon=True))
        processes[-1].start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _burn(share: float, seed: int) -> None:
    chance = random.Random(seed)
    parent = os.getppid()
    while os.getppid() == parent:  # it must not outlive the benchmark
        length = chance.uniform(0.005, 0.2)
        until = time.perf_counter() + length
        while time.perf_counter() < until:
            pass
        time.sleep(length * (1 - share) / share)
