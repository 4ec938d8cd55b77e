"""The memory that a plan is fitted to: the user's limit, and the control group's."""

from __future__ import annotations

from dataclasses import replace

from edgehone.backends.base import EFFORTS
from edgehone.device.detect import detect
from edgehone.optimize.context import effort_settings
from edgehone.optimize.fitting import MEMORY_SHARE, memory_limit, with_tokens


def test_the_limit_of_a_control_group_counts_as_the_users() -> None:
    free = replace(detect(), memory_limit_bytes=None)
    grouped = replace(free, memory_limit_bytes=10 * 10**9)
    assert memory_limit(free, None) is None
    assert memory_limit(free, 4 * 10**9) == 4 * 10**9
    assert memory_limit(grouped, None) == int(10 * 10**9 * MEMORY_SHARE)
    assert memory_limit(grouped, 4 * 10**9) == 4 * 10**9
    assert memory_limit(grouped, 40 * 10**9) == int(10 * 10**9 * MEMORY_SHARE)


def test_an_effort_has_fewest_windows_and_a_plan_may_need_them() -> None:
    quick = effort_settings("quick")
    assert (quick.windows, quick.least_windows) == (24, 16)
    assert with_tokens(quick, 16 * 256) == replace(quick, windows=16)
    for name in EFFORTS:
        settings = effort_settings(name)
        assert 4 <= settings.least_windows <= settings.windows
