"""How many matrices' Hessians are held at a time."""

from __future__ import annotations

import pytest

from edgehone.backends.mlx import learned


def test_hessians_are_gathered_as_many_at_a_time_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "_BYTES", 4 * 100)
    columns = {"a": 6, "b": 8, "c": 20, "d": 6, "e": 8, "f": 1}
    # 36 + 64 fit in 100; 400 alone is more than that and comes by itself.
    assert list(learned.batches(columns)) == [["a", "b"], ["c"], ["d", "e"], ["f"]]
    assert list(learned.batches({})) == []
