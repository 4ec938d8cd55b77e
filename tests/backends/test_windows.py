"""Windows of the calibration ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgehone.backends.windows import windows
from edgehone.errors import TextError


def calibration(folder: Path, tokens: int, bos: list[int]) -> Path:
    (folder / "ids.json").write_text(json.dumps(list(range(10, 10 + tokens))))
    (folder / "bos.json").write_text(json.dumps(bos))
    return folder


@pytest.mark.parametrize(
    ("tokens", "count", "length", "found", "long"),
    [(40_000, 32, 256, 32, 256), (600, 32, 256, 4, 128), (40_000, 8, 64, 8, 64), (1_000, 32, 64, 15, 64)],
)
def test_windows(  # noqa: PLR0917
    tmp_path: Path, tokens: int, count: int, length: int, found: int, long: int
) -> None:
    made = windows(calibration(tmp_path, tokens, [1]), count, length)
    assert len(made) == found and {len(window) for window in made} == {long}
    assert all(window[0] == 1 and window[1] >= 10 for window in made)
    # They are spread over the whole text.
    assert made[-1][-1] > 10 + tokens * 0.9


def test_no_bos(tmp_path: Path) -> None:
    assert windows(calibration(tmp_path, 4000, []), 4, 32)[0] == list(range(10, 42))


def test_a_text_that_is_too_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="40 tokens"):
        windows(calibration(tmp_path, 40, [1]), 32, 256)
