"""Fixtures that the whole suite shares."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from edgehone.backends import registry
from edgehone.backends.null import backend
from edgehone.backends.pytorch import backend as pytorch
from edgehone.execution.environments import environment
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Input, Job, run
from edgehone.inputs.texts import shipped
from edgehone.model import demo
from tests.finished import _finished, finished, spoiled

__all__ = ["_finished", "finished", "spoiled"]  # fixtures

# No test asserts a time: on a busy machine an example may take long to draw or to run.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

RunWorker = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see the shipped defaults, whatever the person who runs them has set."""
    for name in list(os.environ):
        if name.startswith(("EDGEHONE_PYTHON_", "EDGEHONE_TOOLCHAIN_")):
            monkeypatch.delenv(name)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An EDGEHONE_HOME of the test's own: an empty store, no environments."""
    home = tmp_path / "home"
    monkeypatch.setenv("EDGEHONE_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The small real language model that ships."""
    return demo.demo_model()


@pytest.fixture(scope="session")
def tiny_families(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Tiny random checkpoints of families of language models, by model type; all made when first asked for."""
    place = tmp_path_factory.mktemp("families") / "made"

    def folder(family: str) -> Path:
        if not place.exists():
            env = environment.ensure("pytorch", registry.load("pytorch").NEEDS, lambda what: None)
            script = Path(__file__).parents[1] / "examples" / "make_tiny_families.py"
            words = [str(env.python), str(script), "--out", str(place)]
            subprocess.run(words, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        return place / {"phi3": "phi-three"}.get(family, family)

    return folder


@pytest.fixture
def null_model(tmp_path: Path) -> Path:
    """A fake model for the null backend."""
    return backend.make_model(tmp_path / "null-model", shipped("calibration").read_text("utf-8"))


@pytest.fixture
def run_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunWorker:
    """Run a function of a backend in its real environment, in a child process; returns its facts.

    `out` gets what the job wrote. Environments are the shared ones; the store is the test's own, so nothing is
    taken from an earlier run.
    """

    def call(
        backend_name: str, call: str, args: dict[str, Any], inputs: dict[str, Path], out: Path
    ) -> dict[str, Any]:
        env = environment.ensure(backend_name, registry.load(backend_name).NEEDS, lambda what: None)
        with monkeypatch.context() as patch:
            patch.setenv("EDGEHONE_HOME", str(tmp_path / "worker-home"))
            job = Job(
                call,
                env,
                args,
                {name: Input(path, f"{path}") for name, path in inputs.items()},
                threads=len(os.sched_getaffinity(0)),
                backend=registry.module_name(backend_name),
            )
            result = run(job)
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(result.out, out)
        return dict(result.facts or {})

    return call


@pytest.fixture
def null_env(own_home: Path) -> Iterator[Env]:
    """The null backend's environment: this interpreter."""
    yield environment.ensure("null", backend.NEEDS, lambda what: None)


def read_json(path: Path) -> Any:
    """A JSON file's content."""
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="session")
def make_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a small random encoder of a task, with a tokenizer of its own."""
    env = environment.ensure("pytorch", pytorch.NEEDS, lambda what: None)

    def make(task: str) -> Path:
        folder = tmp_path_factory.mktemp("encoder") / task
        script = Path(__file__).parents[1] / "examples" / "make_tiny_encoder.py"
        subprocess.run(
            [str(env.python), str(script), "--task", task, "--out", str(folder)],
            check=True,
            capture_output=True,
        )
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_encoders(make_encoder: Callable[[str], Path]) -> dict[str, Path]:
    """Small random encoders by their task."""
    return {task: make_encoder(task) for task in ("feature-extraction", "text-classification")}
