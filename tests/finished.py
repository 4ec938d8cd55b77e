"""One finished bundle of the null backend, made once for all tests that read or run one, and copies of it to spoil."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import edgehone
from edgehone.backends.null import backend
from edgehone.inputs.texts import shipped
from tests.tiny import TINY

# Short requests: what is tested here is the bundle, not the fake's pace.


@dataclass(frozen=True)
class Finished:
    """A finished run: its home, model and bundle, and how to run it again."""

    home: Path
    model: Path
    config: Path
    bundle: Path

    def optimize(self, out: Path, *gates: str) -> edgehone.Decision:
        """The same run, into another folder; its jobs are done already."""
        return edgehone.optimize(
            self.model,
            workload="tiny",
            effort="quick",
            backends=["null"],
            gates=gates,
            out=out,
            config_file=self.config,
        )


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    place = tmp_path_factory.mktemp("finished")
    model = backend.make_model(place / "null-model", shipped("calibration").read_text("utf-8"))
    (model / "LICENSE").write_text("Do as you like.\n")
    (place / "tiny.toml").write_text(TINY)
    run = Finished(place / "home", model, place / "tiny.toml", place / "bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEHONE_HOME", str(run.home))
        run.optimize(run.bundle)
    return run


@pytest.fixture
def finished(_finished: Finished, monkeypatch: pytest.MonkeyPatch) -> Iterator[Finished]:
    """The finished run, with its home as EDGEHONE_HOME."""
    monkeypatch.setenv("EDGEHONE_HOME", str(_finished.home))
    yield _finished


@pytest.fixture
def spoiled(_finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished bundle that a test may change."""
    return Path(shutil.copytree(_finished.bundle, tmp_path / "bundle"))
