"""The read bandwidth: measuring, caching, and missing figures with reasons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.device.bandwidth import measure, read_bandwidth
from edgehone.device.detect import detect

pytestmark = pytest.mark.xdist_group("measures")


def test_the_bandwidth_is_measured_once_and_cached(tmp_path: Path) -> None:
    # Buffers are sized by the caches, and a server's take gigabytes.
    device = replace(detect(), caches={"L3": 8 << 20})
    first = read_bandwidth(device, tmp_path, seconds=0.1)
    assert first.value is not None
    assert 0.5 < first.value < 2000
    assert first.n >= 3
    assert read_bandwidth(device, tmp_path, seconds=0.1) == first
    kept = next(tmp_path.iterdir())
    kept.write_text("{")  # half a file of a full disk
    assert read_bandwidth(device, tmp_path, seconds=0.1).value is not None


def test_more_bytes_take_longer() -> None:
    """Bytes over time: the figure does not grow with the buffer, as it would if nothing were read."""
    small, large = measure(16 << 20, 1, 0.1).value, measure(64 << 20, 1, 0.1).value
    assert small is not None
    assert large is not None
    assert large < 3 * small


def test_too_little_memory_gives_a_reason(tmp_path: Path) -> None:
    found = read_bandwidth(replace(detect(), memory_available_bytes=1 << 20), tmp_path)
    assert found.value is None
    assert "1 MiB are free" in str(found.reason)
