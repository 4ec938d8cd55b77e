"""Folders that the processes of a test run share."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from tests.once import filled_once


def note(folder: Path) -> None:
    """Leave a line for each time that the folder is filled."""
    with (folder.parent / "calls").open("a") as file:
        file.write("filled\n")
    (folder / "file").write_text("content")


def test_processes_at_once_fill_a_folder_once(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    spawn = multiprocessing.get_context("fork")
    processes = [spawn.Process(target=filled_once, args=(tmp_path_factory, name, note)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    folder = filled_once(tmp_path_factory, name, note)
    assert (folder / "file").read_text() == "content"
    assert (folder.parent / "calls").read_text() == "filled\n"


def test_a_folder_whose_filling_failed_is_filled_anew(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        filled_once(tmp_path_factory, request.node.name, fail)
    folder = filled_once(tmp_path_factory, request.node.name, lambda folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]
