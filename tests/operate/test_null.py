"""Planted problems of a server of the null backend: each is noticed, rightly named, and remedied or escalated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.operate.operated import Traffic, certificate_of, change, operating, served
from tests.serve.conftest import chatty
from tests.serve.server import Server, running
from tests.serve.test_change import key_file

__all__ = ["chatty", "key_file"]  # fixtures
pytestmark = pytest.mark.whole


@pytest.fixture
def operated(chatty: Path, key_file: Path) -> Iterator[Server]:
    with running(chatty, "--admin-key-file", str(key_file)) as server:
        yield server


def short(number: int) -> dict[str, Any]:
    """Prompts of different lengths, answers of a few tokens: 20 ms."""
    return {"model": "bundle", "prompt": "To the " * (20 + 10 * (number % 5)), "max_tokens": 4}


@pytest.fixture
def baseline(chatty: Path, tmp_path: Path) -> Path:
    return certificate_of(chatty, tmp_path / "certificate.json", {"served_p95_s": 0.03, "served_p50_s": 0.02})


def test_the_prefix_cache_is_switched_on_again(
    operated: Server, key_file: Path, baseline: Path, tmp_path: Path
) -> None:
    words = ("--baseline", str(baseline))
    with (
        Traffic(operated, short).flowing() as traffic,
        operating(operated, key_file, tmp_path / "state", *words) as run,
    ):
        first = served(operated)["bundle"]["change"]
        change(operated, settings={"prefix_cache": False})
        noticed = run.wait_for("noticed", 60, lambda one: "latency" in one.detail["alert"])
        assert noticed.detail["alert"].startswith("latency")
        diagnosed = run.wait_for("diagnosed")
        assert "prefix cache off" in [one["name"] for one in diagnosed.detail["causes"]]
        kept = run.wait_for("kept", 90)
        assert kept.detail["remedy"] == "prefix cache on"
        run.wait_for("closed", 90)
        assert served(operated)["bundle"]["settings"] == {"prefix_cache": True}
        assert [one.name for one in run.remedies()] == ["prefix cache on"]
        assert first["path"] == served(operated)["bundle"]["change"]["path"]
    assert {*traffic.statuses} <= {200, 429}
