"""Fixtures of the whole suite."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from edgehone.backends.null import backend
from edgehone.execution.environments import environment
from edgehone.execution.environments.environment import Env
from edgehone.inputs.texts import shipped
from edgehone.model import demo
from tests.finished import _finished, finished, spoiled
from tests.rates import know_rates
from tests.realruns import (
    _shared_home,
    make_encoder,
    make_example,
    measuring_home,
    real_home,
    run_place,
    run_worker,
    tiny_encoders,
    tiny_families,
    warm_null,
    warm_servers,
)
from tests.report.browser import Browser

__all__ = [
    "_finished",
    "_shared_home",
    "finished",
    "make_encoder",
    "make_example",
    "measuring_home",
    "real_home",
    "run_place",
    "run_worker",
    "spoiled",
    "tiny_encoders",
    "tiny_families",
    "warm_null",
    "warm_servers",
]  # fixtures

# On a busy machine, drawing or running an example may take long.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


# jsonschema would parse 38 grammars at import, half a processor second in every test process, for formats of
# international addresses that no schema here has.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n logical` starts: one more than processors.

    Tests wait for servers, timers and locks in a third of their time.
    """
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return seen + 1


@pytest.fixture(autouse=True)
def _without_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the user's own interpreters and toolchains from the environment: tests use the default ones."""
    for name in list(os.environ):
        if name.startswith(("EDGEHONE_PYTHON_", "EDGEHONE_TOOLCHAIN_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _unsynced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a test stores has to survive a loss of power, and each fsync takes some milliseconds."""
    if request.path.name != "test_page_cache.py":  # whose pages can be dropped only once they are on the disk
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An EDGEHONE_HOME for one test: no environments, an empty store, and known rates of this machine."""
    home = know_rates(tmp_path / "home")
    monkeypatch.setenv("EDGEHONE_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The small language model that ships with edgehone."""
    return demo.demo_model()


@pytest.fixture
def null_model(tmp_path: Path) -> Path:
    """A model of the null backend."""
    return backend.make_model(tmp_path / "null-model", shipped("calibration").read_text("utf-8"))


@pytest.fixture
def null_env(own_home: Path) -> Iterator[Env]:
    """The null backend's environment: this interpreter."""
    yield environment.ensure("null", backend.NEEDS, lambda what: None)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium that the tests of a module share."""
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text("utf-8"))
