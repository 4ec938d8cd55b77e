"""The canaries of a graph: its first samples with its own outputs, within limits of size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.null.graph import make_graph
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import InputError
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches
from edgehone.worker import canaries

WEIGHTS = np.eye(4, 3, dtype=np.float32)


def job(folder: Path, rows: Any, batch: int = 1) -> WorkerJob:
    samples = folder / "samples"
    samples.mkdir()
    Batches({"x": np.asarray(rows, np.float32)}, None, axes=Axes({"x": 0})).write(samples)
    inputs = {"artifact": make_graph(folder / "artifact", WEIGHTS), "samples": samples}
    args = {"backend": "edgehone.backends.null.backend", "settings": {}, "batch": batch}
    (folder / "out").mkdir()
    return WorkerJob(args, inputs, folder / "out", None, 1, lambda fraction, what: None)


def test_the_first_samples_each_alone(tmp_path: Path) -> None:
    rows = np.arange(40).reshape(10, 4)
    facts = canaries.outputs(job(tmp_path, rows))
    found = canaries.read(tmp_path / "out" / "canaries")
    assert facts == {"canaries": 3, "bytes": 3 * (16 + 12 + 8)}
    for at, (question, answer) in enumerate(found):
        np.testing.assert_array_equal(question["x"], rows[at : at + 1])
        np.testing.assert_array_equal(answer["scores"], rows[at : at + 1] @ WEIGHTS)


def test_as_many_samples_as_the_graph_takes_and_fewer_canaries_than_would_repeat(tmp_path: Path) -> None:
    assert canaries.outputs(job(tmp_path, np.ones((9, 4)), batch=4))["canaries"] == 2
    assert canaries.read(tmp_path / "out" / "canaries")[1][0]["x"].shape == (4, 4)


def test_large_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canaries, "_ENOUGH", 80)
    assert canaries.outputs(job(tmp_path, np.ones((9, 4))))["canaries"] == 2
    monkeypatch.setattr(canaries, "_ENOUGH", 10)
    (tmp_path / "other").mkdir()
    assert canaries.outputs(job(tmp_path / "other", np.ones((9, 4))))["canaries"] == 1
    monkeypatch.setattr(canaries, "_LARGEST", 10)
    (tmp_path / "third").mkdir()
    with pytest.raises(InputError, match="a request and its answer take"):
        canaries.outputs(job(tmp_path / "third", np.ones((9, 4))))


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "samples.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be read"):
        canaries.read(tmp_path)
