"""The memory that a plan is fitted to: the user's limit, and the control group's."""

from __future__ import annotations

from dataclasses import replace

from edgehone.device.detect import detect
from edgehone.optimize.fitting import MEMORY_SHARE, memory_limit


def test_the_limit_of_a_control_group_counts_as_the_users() -> None:
    free = replace(detect(), memory_limit_bytes=None)
    grouped = replace(free, memory_limit_bytes=10 * 10**9)
    assert memory_limit(free, None) is None
    assert memory_limit(free, 4 * 10**9) == 4 * 10**9
    assert memory_limit(grouped, None) == int(10 * 10**9 * MEMORY_SHARE)
    assert memory_limit(grouped, 4 * 10**9) == 4 * 10**9
    assert memory_limit(grouped, 40 * 10**9) == int(10 * 10**9 * MEMORY_SHARE)
