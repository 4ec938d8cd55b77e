"""Children of a pipeline run the code of the process that starts them, and none of the folder that it stands in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgehone.pipeline import child
from tests.cli.test_third_party_verbs import HELLO, install


def test_a_child_has_the_packages_that_pythonpath_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", "greetings", {"greetings": HELLO}, {"hello": "greetings"})
    before = [one for one in (os.environ.get("PYTHONPATH"),) if one]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *before]))
    done = child.verb(["hello", "you"], tmp_path / "log")
    assert (done.code, done.text) == (7, "hello you, json=True"), done.problem


def test_a_child_imports_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model's folder may have a file that is named as a module, which is then code of strangers."""
    for name in ("json", "numpy", "edgehone"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')\n")
    monkeypatch.chdir(tmp_path)
    done = child.verb(["inspect", "no-such-model"], tmp_path / "log")
    assert done.code == 2 and "no-such-model" in done.problem, done.problem
