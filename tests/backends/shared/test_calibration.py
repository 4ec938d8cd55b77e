"""Calibration windows: their number and length, and that they cover the text evenly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgehone.backends.shared.calibration import windows
from edgehone.core.errors import TextError


def prepared(folder: Path, tokens: int, bos: list[int]) -> Path:
    (folder / "ids.json").write_text(json.dumps(list(range(10, 10 + tokens))))
    (folder / "bos.json").write_text(json.dumps(bos))
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.integers(80, 50_000), st.integers(32, 8192), st.sampled_from([[], [1], [1, 2]]))
def test_windows_are_equal_consecutive_and_spread(
    tmp_path: Path, tokens: int, context: int, bos: list[int]
) -> None:
    made = windows(prepared(tmp_path, tokens, bos), context)
    assert 4 <= len(made) <= 64
    length = len(made[0])
    assert length <= min(256, context)
    for window in made:
        assert window[: len(bos)] == bos
        text = window[len(bos) :]
        assert len(text) == length - len(bos) and text == list(range(text[0], text[0] + len(text)))
    assert made[0][-1] < made[1][-1]
    # The last window ends at the end of the text, up to a remainder smaller than the stride's rounding.
    assert 9 + tokens - made[-1][-1] < len(made)


def test_a_text_that_is_too_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="40 tokens"):
        windows(prepared(tmp_path, 40, [1]), 4096)
