"""The divergence by position, up to the workload's context."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgehone
from edgehone.optimize.evaluate.long_context import AT_END, PARTS, by_position
from tests.recipes import FEW_ROUNDS

TOML = """
[workloads.long]
task = "text-generation"
prompt_tokens = 16
generated_tokens = 8
context = {context}
batch = 1
concurrency = 1
weights = {{ speed = 1.0, quality = 8.0 }}
"""


def test_each_part_of_the_windows_has_its_mean(tmp_path: Path) -> None:
    window = np.repeat([0, 1, 2], 8)
    kl = np.tile([1.0, 1, 2, 2, 3, 3, 4, 4], 3) + window
    np.savez(tmp_path / "tokens.npz", window=window, kl=kl)
    found = by_position(tmp_path / "tokens.npz")
    assert [end for end, _ in found] == [2, 4, 6, 8]
    assert [one.value for _, one in found] == [2.0, 3.0, 4.0, 5.0]
    last = found[-1][1]
    assert last.n == 3
    assert last.low is not None
    assert last.low < 5 < (last.high or 0)


@pytest.mark.parametrize(("context", "long"), [(256, True), (64, False)])
def test_a_long_workload_is_scored_in_its_whole_length(
    own_home: Path, null_model: Path, tmp_path: Path, context: int, long: bool
) -> None:
    config = tmp_path / "edgehone.toml"
    config.write_text(FEW_ROUNDS + "windows = 8\nwindow = 32\n" + TOML.format(context=context))
    decision = edgehone.optimize(
        null_model,
        workload="long",
        effort="quick",
        backends=["null"],
        config_file=config,
        out=tmp_path / "bundle",
    )
    chosen = decision.candidate("null/q8")
    assert (AT_END in chosen.figures) is long
    if long:
        end = chosen.figure(AT_END)
        assert end.unit == "nats"
        assert end.value is not None
        parts = edgehone.read(tmp_path / "bundle").manifest.facts["kl_by_position"]
        assert len(parts) == PARTS
