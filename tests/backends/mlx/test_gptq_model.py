"""The number of matrices whose Hessians are computed in one pass."""

from __future__ import annotations

import pytest

from edgehone.backends.mlx import gptq_model


def test_hessians_are_computed_in_batches_that_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gptq_model, "_MAX_BYTES", 4 * 100)
    columns = {"a": 6, "b": 8, "c": 20, "d": 6, "e": 8, "f": 1}
    # 36 + 64 fit in 100; 400 exceeds it and forms its own batch.
    assert list(gptq_model.batches(columns)) == [["a", "b"], ["c"], ["d", "e"], ["f"]]
    assert list(gptq_model.batches({})) == []
