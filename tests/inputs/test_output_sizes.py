"""Outputs whose size depends on the data are padded, and their sizes are kept and judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError, InputError
from edgehone.evaluation import agreement, collapse, output_roles
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches
from edgehone.inputs.output_sizes import aligned, joined, sized_output, sizes_name
from edgehone.worker import graph_cases, score_graph

LENGTHS = (3, 5, 1, 4)


class Repeats:
    """y is as many numbers as x says, and less by `lost`; `boxes` [x, 2] have no axis of samples."""

    def __init__(self, lost: int = 0) -> None:
        self.lost = lost

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        count = int(feeds["x"].max())
        numbers = np.arange(1.0, count + 1 - self.lost, dtype=np.float32)
        return {"y": numbers[None], "boxes": np.stack([numbers, -numbers], 1)}

    def close(self) -> None: ...


def scored(folder: Path, monkeypatch: pytest.MonkeyPatch, graph: Any, reference: Path | None = None) -> Path:
    samples = folder / "samples"
    samples.mkdir(exist_ok=True)
    axes = Axes({"x": 0}, {"y": 0, "boxes": None})
    Batches({"x": np.array(LENGTHS)[:, None]}, None, {}, axes).write(samples)
    for module in (score_graph, graph_cases):
        monkeypatch.setattr(
            module, "load_backend", lambda job: SimpleNamespace(open_graph=lambda *given: graph)
        )
        monkeypatch.setattr(module, "require", lambda backend, protocol: backend)
    out = folder / f"out{len([*folder.iterdir()])}"
    out.mkdir()
    inputs = {"artifact": folder, "samples": samples} | ({"reference": reference} if reference else {})
    job = WorkerJob({"settings": {}, "batch": 1}, inputs, out, None, 1, lambda *progress: None)
    score_graph.outputs(job)
    return out


def test_rows_are_padded_and_their_sizes_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = agreement.read(scored(tmp_path, monkeypatch, Repeats()))
    assert found["y"].shape == (4, 5) and found["boxes"].shape == (4, 5, 2)
    assert found["y"][0].tolist() == [1, 2, 3, 0, 0]
    assert found[sizes_name("y")][:, 0].tolist() == [*LENGTHS]
    assert found[sizes_name("boxes")].tolist() == [[one, 2] for one in LENGTHS]


def test_a_candidate_that_ends_early_loses_by_its_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = scored(tmp_path, monkeypatch, Repeats())
    for lost, share in ((0, 1.0), (1, (2 / 3 + 4 / 5 + 0 + 3 / 4) / 4)):
        candidate = scored(tmp_path, monkeypatch, Repeats(lost), reference)
        ours, theirs = aligned(agreement.read(reference), agreement.read(candidate))
        roles = output_roles.recognize(ours)
        assert [one.role for one in roles if sized_output(one.name)] == ["size", "size"]
        (found,) = agreement.by_output(ours, theirs, roles)[sizes_name("y")]
        assert found.value == pytest.approx(share)
        kept = agreement.figures(ours, theirs, roles)["accuracy_kept"].value
        assert kept is not None and (kept == 1.0) == (lost == 0)
        assert collapse.reason(roles, ours, theirs) is None


def test_a_candidate_of_one_size_says_so_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = scored(tmp_path, monkeypatch, Repeats())
    same = SimpleNamespace(
        run=lambda feeds: {"y": np.ones((1, 2), np.float32), "boxes": np.ones((2, 2), np.float32)},
        close=lambda: None,
    )
    candidate = agreement.read(scored(tmp_path, monkeypatch, same, reference))
    assert candidate[sizes_name("y")].tolist() == [[2]] * 4
    ours, theirs = aligned(agreement.read(reference), candidate)
    assert ours["y"].shape == theirs["y"].shape == (4, 5)


def test_an_output_of_one_size_that_becomes_unequal_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = SimpleNamespace(
        run=lambda feeds: {"y": np.ones((1, 2), np.float32), "boxes": np.ones((2, 2), np.float32)},
        close=lambda: None,
    )
    reference = scored(tmp_path, monkeypatch, same)
    candidate = agreement.read(scored(tmp_path, monkeypatch, Repeats(), reference))
    ours, theirs = aligned(agreement.read(reference), candidate)
    with pytest.raises(EdgehoneError, match=r"'y' has several sizes, the original's is always \[2\]"):
        agreement.figures(ours, theirs, output_roles.recognize(ours))


def test_cases_of_a_certificate_take_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(tmp_path, monkeypatch, Repeats())
    (tmp_path / "cases").mkdir()
    (tmp_path / "samples").rename(tmp_path / "cases" / "plain")
    inputs = {"artifact": tmp_path, "cases": tmp_path / "cases"}
    job = WorkerJob(
        {"settings": {}, "batch": 1, "cases": ["plain"]}, inputs, tmp_path, None, 1, lambda *progress: None
    )
    assert graph_cases.outputs(job)["plain"] == {"samples": 4, "error": None, "finite": 4}
    with np.load(tmp_path / "plain.npz") as file:
        assert file[sizes_name("y")][:, 0].tolist() == [*LENGTHS]


def test_other_numbers_of_axes_are_refused() -> None:
    with pytest.raises(
        InputError, match="'y' has 1 axes beside the samples for some of them and 2 for others"
    ):
        joined("y", [np.zeros((1, 4)), np.zeros((1, 2, 3))])


@given(
    sizes=some.lists(some.tuples(some.integers(0, 4), some.integers(1, 3)), min_size=1, max_size=5),
    with_sizes=some.booleans(),
)
def test_every_row_can_be_read_back(sizes: list[tuple[int, int]], with_sizes: bool) -> None:
    parts = [np.full((1, *size), at + 1.0) for at, size in enumerate(sizes)]
    found = joined("y", parts, with_sizes)
    assert (sizes_name("y") in found) == (with_sizes or len(set(sizes)) > 1)
    told = found.get(sizes_name("y"), np.tile(sizes[0], (len(sizes), 1)))
    for at, (row, size) in enumerate(zip(found["y"], told, strict=True)):
        assert (row[: size[0], : size[1]] == at + 1).all() and row.sum() == (at + 1) * size.prod()


def test_entries_of_short_rows_count_as_those_of_long_ones() -> None:
    """Steps after an end are not counted as equal: each own entry is stretched to the longest row."""
    ours = joined("y", [np.ones((1, 4)), np.array([[5.0, 7.0]])])
    theirs = joined("y", [np.ones((1, 4)), np.array([[5.0, 8.0]])])
    stretched = aligned(ours, theirs)
    assert stretched[0]["y"].tolist() == [[1, 1, 1, 1], [5, 5, 7, 7]]
    assert (stretched[0]["y"] == stretched[1]["y"]).mean() == 0.75
    padded = aligned(ours, theirs, ["y"])
    assert padded[1]["y"].tolist() == [[1, 1, 1, 1], [5, 8, 0, 0]]
