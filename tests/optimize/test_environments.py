"""Environments that several backends share are made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.backends.llamacpp import backend, original
from edgehone.backends.null import backend as null
from edgehone.cli import main
from edgehone.core.errors import JobError, SetupError
from edgehone.execution.environments import environment
from edgehone.execution.executor import LocalExecutor
from edgehone.optimize import context_setup, setup
from edgehone.optimize.environments import ensure_environments


def test_one_making_serves_all_that_share(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def ensure(name: str, needs: Any, on_progress: Any) -> Any:
        made.append(needs.environment or name)
        return f"env of {made[-1]}"

    monkeypatch.setattr(environment, "ensure", ensure)
    backends: Any = {"gguf": original, "llamacpp": backend, "null": null}
    ready: Any
    ready, unready = ensure_environments(LocalExecutor(), backends, lambda name, what: None)
    assert sorted(made) == ["llamacpp", "null"] and not unready
    assert [str(ready[name]) for name in ("gguf", "llamacpp")] == ["env of llamacpp"] * 2


def test_one_failure_is_told_of_all_that_share(monkeypatch: pytest.MonkeyPatch) -> None:
    def ensure(name: str, needs: Any, on_progress: Any) -> Any:
        raise SetupError("no compiler")

    monkeypatch.setattr(environment, "ensure", ensure)
    told: list[str] = []
    backends: Any = {"gguf": original, "llamacpp": backend}
    ready: Any
    ready, unready = ensure_environments(LocalExecutor(), backends, lambda name, what: told.append(name))
    assert not ready and set(unready) == set(told) == {"gguf", "llamacpp"}


@pytest.mark.parametrize("lacking", [["llamacpp", "openvino"], ["openvino"]])
def test_a_run_ends_before_the_original_is_scored_if_no_backend_is_left_that_builds(
    lacking: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that are left build; what the others lack stands in the report."""

    def scored(*_: Any) -> None:
        raise JobError("the run went on")

    unready = {name: SetupError(f"{name} lacks a compiler", hint="apt-get install g++") for name in lacking}
    monkeypatch.setattr(context_setup, "_ready_executors", lambda *_: (None, None, unready))
    monkeypatch.setattr(setup, "add_device_recipes", scored)
    model = Path(edgehone.__file__).parent / "data" / "demo-model"
    words = ["optimize", str(model), "--effort", "quick", "--backends", "llamacpp,openvino"]
    code = main.main([*words, "--out", str(tmp_path / "out")])
    told = capsys.readouterr().err
    if len(lacking) == 2:
        assert code == 2 and "llamacpp lacks a compiler" in told and "apt-get install g++" in told
    else:
        assert code == 1 and "the run went on" in told
    assert not (tmp_path / "out").exists()
