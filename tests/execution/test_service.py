"""Services that are begun before they are needed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edgehone.execution import service
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Job


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.syspath_prepend(Path(__file__).parent)
    yield tmp_path


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def _job(python: str = sys.executable) -> Job:
    """A job that waits until its parent closes the channel."""
    env = Env("own", Path(python), None, "")
    return Job("jobfunctions:wait_for_channel", env, {}, {}, threads=1)


def test_a_begun_service_is_that_of_its_start(temporary: Path) -> None:
    job, other = _job(), _job()
    before = _children()  # other tests' helpers
    with service.begun([job, other]):
        begun = _children() - before
        first = service.start(job)
        assert first.child.pid in begun
        again = service.start(job)  # as after its end
        assert again.child.pid not in begun
        assert len(list(temporary.iterdir())) == 3
        for one in (first, again):
            one.end()
    # The other one, which nobody started, has ended.
    assert not begun & _children()
    assert not list(temporary.iterdir())


def test_a_service_that_cannot_be_begun_tells_why_at_its_start(temporary: Path) -> None:
    job = _job(str(temporary / "no-python"))
    with service.begun([job]), pytest.raises(OSError, match="no-python"):
        service.start(job)
    assert not list(temporary.iterdir())


def test_an_error_ends_what_was_begun(temporary: Path) -> None:
    with pytest.raises(ValueError, match="port"), service.begun([_job()]):
        raise ValueError("port")
    assert not list(temporary.iterdir())
