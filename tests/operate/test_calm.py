"""Five minutes of clean traffic in bursts on a real engine, with the usual windows: nothing is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import calm
from tests.operate.test_planted import baseline
from tests.serve.conftest import bundle_of

__all__ = ["bundle_of"]  # a fixture
pytestmark = [pytest.mark.real, pytest.mark.long]


def test_clean_traffic_in_bursts(
    bundle_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An hour takes `make bench-calm`."""
    bundle = bundle_of("llamacpp")
    words = (str(bundle), "--seconds", "300", "--out", str(tmp_path / "out"), *baseline(bundle, tmp_path))
    code = calm.main(words)
    assert code == 0, capsys.readouterr().out
