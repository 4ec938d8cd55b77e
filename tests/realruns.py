"""Fixtures of the tests marked `real`: one store for all of them, warm worker processes, and models made once.

The whole test run shares one EDGEHONE_HOME, pytest-xdist's processes included. Its environments are the installed ones.
Jobs are keyed by all that determines their result, so a build that several tests read is made once. Tests that
measure are in the group `measures`, which runs in one process of pytest-xdist, one after the other.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends import registry
from edgehone.execution import child_process, foreground
from edgehone.execution.command import command_line
from edgehone.execution.environments import environment
from edgehone.execution.home import file_lock, home
from edgehone.execution.job import Input, Job
from edgehone.execution.run import run
from tests.warmworkers.workers import Servers

RunWorker = Callable[..., dict[str, Any]]
HERE = Path(__file__).parent
_COLD = command_line


@pytest.fixture(scope="session")
def run_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def real_home(run_place: Path) -> Path:
    """The EDGEHONE_HOME of this test run: the installed environments, and a store that begins empty."""
    return _linked(
        run_place, "real-home", dict.fromkeys(("envs", "toolchains", "logs", "containers", "npm"), home())
    )


@pytest.fixture(scope="session")
def measuring_home(run_place: Path, real_home: Path) -> Path:
    """The same with the installed locks, for tests that measure.

    Their measurements exclude those of other test runs, but do not wait for the builds of this one.
    """
    installed = dict.fromkeys(("envs", "toolchains", "logs", "locks"), home())
    return _linked(run_place, "measuring-home", {**installed, "store": real_home})


def _linked(run_place: Path, name: str, parts: Mapping[str, Path]) -> Path:
    """A home whose parts are those of other homes."""
    place = run_place / name
    place.mkdir(exist_ok=True)
    with file_lock(run_place / f"{name}.lock"):
        for part, other in parts.items():
            (other / part).mkdir(exist_ok=True)
            if not (place / part).is_symlink():
                (place / part).symlink_to(other / part)
    return place


@pytest.fixture(scope="session")
def warm_servers(run_place: Path) -> Iterator[Servers]:
    """The processes that real tests' jobs are forked from."""
    servers = Servers(run_place / "warm")
    yield servers
    servers.close()


@pytest.fixture(autouse=True)
def _shared_home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real tests share a home, unless they ask for their own, and start warm, unless they are marked `cold`."""
    if request.node.get_closest_marker("real") is None:
        return
    # Made while EDGEHONE_HOME is still the caller's.
    shared, measuring = (request.getfixturevalue(name) for name in ("real_home", "measuring_home"))
    if "own_home" not in request.fixturenames:
        group = request.node.get_closest_marker("xdist_group")
        measures = group is not None and group.args == ("measures",)
        monkeypatch.setenv("EDGEHONE_HOME", str(measuring if measures else shared))
    if request.node.get_closest_marker("cold") is None:
        start_warm(request.getfixturevalue("warm_servers"), monkeypatch)


@pytest.fixture
def warm_null(warm_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the null backend's jobs from a process that has imported numpy, but for those that measure memory."""
    start_warm(warm_servers, monkeypatch)


def start_warm(servers: Servers, patch: pytest.MonkeyPatch) -> None:
    """Fork the jobs that this process starts from warm processes."""

    def command(job: Job, folder: Path) -> list[str]:
        return servers.command(job, _COLD(job, folder))

    for starter in (child_process, foreground):
        patch.setattr(starter, "command_line", command)


@pytest.fixture
def run_worker(real_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunWorker:
    """Run a function of a backend in its real environment, in a child process; returns its facts.

    `out` gets what the job wrote. A job whose inputs have the same content as those of an earlier one of this test
    run is not run again. `cold` runs it anew and in a process that has imported nothing.
    """

    def call(
        backend_name: str,
        call: str,
        args: dict[str, Any],
        inputs: dict[str, Path],
        out: Path,
        *,
        cold: bool = False,
    ) -> dict[str, Any]:
        env = environment.ensure(backend_name, registry.load(backend_name).NEEDS, lambda what: None)
        with monkeypatch.context() as patch:
            patch.setenv("EDGEHONE_HOME", str(tmp_path / "own-home" if cold else real_home))
            if cold:
                patch.setattr(child_process, "command_line", _COLD)
            job = Job(
                call,
                env,
                args,
                {name: Input(path, content(path)) for name, path in inputs.items()},
                backend=registry.module_name(backend_name),
            )
            result = run(job)
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(result.out, out)
        return dict(result.facts or {})

    return call


def content(path: Path) -> str:
    """A digest of a file, or of a folder's files and their names."""
    digest = hashlib.sha256(path.name.encode())
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="session")
def make_example(real_home: Path, warm_servers: Servers) -> Callable[..., Path]:
    """Run a script of examples/ in a backend's environment, once a test run; returns the folder that it wrote."""

    @functools.cache
    def make(script: str, name: str, *words: str, backend: str = "pytorch") -> Path:
        env = environment.ensure(backend, registry.load(backend).NEEDS, lambda what: None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDGEHONE_HOME", str(real_home))
            patch.syspath_prepend(str(HERE / "warmworkers"))
            start_warm(warm_servers, patch)
            path = HERE.parent / "examples" / script
            args = {"name": name, "words": words}
            result = run(Job("scriptfunctions:run", env, args, {"script": Input(path, content(path))}))
        return result.out / name

    return make


@pytest.fixture(scope="session")
def tiny_families(make_example: Callable[..., Path]) -> Callable[[str], Path]:
    """Tiny random checkpoints of families of language models, by model type; all made when first asked for."""
    folders = {"phi3": "phi-three"}
    return lambda family: make_example("make_tiny_families.py", "families") / folders.get(family, family)


@pytest.fixture(scope="session")
def make_encoder(make_example: Callable[..., Path]) -> Callable[[str], Path]:
    """Makes a small random encoder of a task, with a tokenizer of its own."""
    return lambda task: make_example("make_tiny_encoder.py", task, "--task", task)


@pytest.fixture(scope="session")
def tiny_encoders(make_encoder: Callable[[str], Path]) -> dict[str, Path]:
    """Small random encoders by their task."""
    return {task: make_encoder(task) for task in ("feature-extraction", "text-classification")}
