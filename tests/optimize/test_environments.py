"""Environments that several backends share are made once."""

from __future__ import annotations

from typing import Any

import pytest

from edgehone.backends.llamacpp import backend, original
from edgehone.backends.null import backend as null
from edgehone.core.errors import SetupError
from edgehone.execution.environments import environment
from edgehone.execution.executor import LocalExecutor
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
