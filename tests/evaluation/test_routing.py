"""Routing agreement: the share of tokens that still go to the same experts, blocks and experts renumbered or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.core.errors import EdgehoneError
from edgehone.evaluation import routing


def save(folder: Path, blocks: dict[str, Any]) -> Path:
    folder.mkdir()
    with (folder / "routing.npz").open("wb") as file:
        arrays: dict[str, Any] = {block: np.asarray(chosen, np.int16) for block, chosen in blocks.items()}
        np.savez(file, **arrays)
    return folder


@pytest.fixture
def original(tmp_path: Path) -> Path:
    # Two windows of three tokens, two experts of four for each.
    chosen = [[[0, 1], [1, 2], [2, 3]], [[0, 3], [1, 3], [0, 2]]]
    return save(tmp_path / "original", {"0": chosen, "3": chosen})


def test_all_agree_with_themselves_and_that_is_not_certain(original: Path) -> None:
    figure, by_block = routing.agreement(original, original)
    assert (figure.value, figure.high, figure.n, figure.unit) == (1.0, 1.0, 2, "share")
    assert figure.low is not None and 0.5 < figure.low < 1
    assert by_block == {"0": 1.0, "3": 1.0}


def test_sets_are_compared_by_block(original: Path, tmp_path: Path) -> None:
    swapped = [[[1, 0], [2, 1], [3, 2]], [[3, 0], [3, 1], [2, 0]]]
    other = [[[0, 1], [1, 3], [2, 3]], [[0, 3], [1, 2], [0, 1]]]
    got = save(tmp_path / "got", {"0": swapped, "3": other})
    figure, by_block = routing.agreement(original, got)
    assert by_block == {"0": 1.0, "3": 0.5}
    assert figure.value == pytest.approx(0.75)
    assert figure.low is not None and figure.low < 0.75


def test_after_surgery_experts_are_compared_by_their_original_numbers(original: Path, tmp_path: Path) -> None:
    # Expert 1 went: 0, 2 and 3 are 0, 1 and 2 now. Block 0 went: block 3 is block 0 now.
    fewer = save(tmp_path / "fewer", {"0": [[[0, 2], [0, 1], [1, 2]], [[0, 2], [0, 2], [0, 1]]]})
    _, by_block = routing.agreement(original, fewer, {"kept_experts": {"0": [0, 2, 3]}})
    assert by_block == {"0": pytest.approx(3 / 6)}
    shorter = save(tmp_path / "shorter", {"0": [[[0, 1], [1, 2], [2, 3]], [[0, 3], [1, 3], [0, 2]]]})
    figure, by_block = routing.agreement(original, shorter, {"kept_layers": [3]})
    assert by_block == {"3": 1.0} and figure.value == 1.0


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [({"1": [[[0, 1]]]}, r"blocks \[1\]"), ({}, r"blocks \[\]"), ({"0": [[[0, 1]]]}, r"\(1, 1, 2\)")],
)
def test_recordings_that_cannot_be_compared_are_an_error(
    blocks: dict[str, Any], reason: str, original: Path, tmp_path: Path
) -> None:
    with pytest.raises(EdgehoneError, match=reason):
        routing.agreement(original, save(tmp_path / "got", blocks))
