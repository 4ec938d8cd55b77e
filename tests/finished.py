"""A bundle of the null backend, written once per test run for all tests that read or run one, and copies to change."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import edgehone
from edgehone.backends.null import backend
from edgehone.bundle.schema import MANIFEST, text_of
from edgehone.inputs.texts import shipped
from edgehone.model.digest import digest_folder
from tests.once import filled_once
from tests.rates import know_rates
from tests.realruns import start_warm
from tests.tiny import TINY
from tests.warmworkers.workers import Servers


@dataclass(frozen=True)
class Finished:
    """A finished run: its home, model, configuration and bundle."""

    home: Path
    model: Path
    config: Path
    bundle: Path

    def optimize(self, out: Path, *gates: str) -> edgehone.Decision:
        """Run the same again, into another folder. Its jobs are taken from the store."""
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
def _finished(tmp_path_factory: pytest.TempPathFactory, warm_servers: Servers) -> Finished:
    def fill(folder: Path) -> None:
        run = _in(folder)
        know_rates(run.home)
        backend.make_model(run.model, shipped("calibration").read_text("utf-8"))
        (run.model / "LICENSE").write_text("Do as you like.\n")
        run.config.write_text(TINY)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDGEHONE_HOME", str(run.home))
            start_warm(warm_servers, patch)
            run.optimize(run.bundle)

    return _in(filled_once(tmp_path_factory, "finished", fill))


def _in(folder: Path) -> Finished:
    return Finished(folder / "home", folder / "null-model", folder / "tiny.toml", folder / "bundle")


@pytest.fixture
def finished(_finished: Finished, monkeypatch: pytest.MonkeyPatch) -> Iterator[Finished]:
    """The finished run, with its home as EDGEHONE_HOME. All test processes share its folder: only read there."""
    monkeypatch.setenv("EDGEHONE_HOME", str(_finished.home))
    folder = _finished.config.parent
    written = _finished.config.stat().st_mtime_ns
    yield _finished
    assert {path.name for path in folder.iterdir()} == {"home", "null-model", "tiny.toml", "bundle"}
    assert _finished.config.stat().st_mtime_ns == written, "a test wrote to the shared configuration"


@pytest.fixture
def spoiled(_finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished bundle that a test may change."""
    return Path(shutil.copytree(_finished.bundle, tmp_path / "bundle"))


def list_again(bundle: Path) -> None:
    """Let the manifest list the files of a bundle as they are now, as if they had been written so."""
    manifest = edgehone.read(bundle).manifest
    files = {name: digest for name, digest in digest_folder(bundle).items() if name != MANIFEST}
    (bundle / MANIFEST).write_text(text_of(replace(manifest, files=files).to_json()), "utf-8")
