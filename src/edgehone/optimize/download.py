"""Download a model from the hub. Nothing else in edgehone downloads models, and this only runs on request."""

from __future__ import annotations

from pathlib import Path

from edgehone.backends import registry
from edgehone.core.errors import InputError, JobError, ModelError
from edgehone.core.events import Emit, Event
from edgehone.execution.environments import environment
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Job
from edgehone.execution.run import run


def download(name: str, emit: Emit) -> Path:
    """Return the folder of a hub model, downloaded once. Raises ModelError if it cannot be downloaded."""
    if Path(name).exists():
        return Path(name)
    if name.count("/") != 1:
        raise InputError(
            f"'{name}' is neither a folder nor a hub name (owner/model)", hint="edgehone optimize --help"
        )

    def on_progress(detail: str) -> None:
        emit(Event("", detail=detail))

    env = environment.ensure("pytorch", registry.load("pytorch").NEEDS, on_progress)
    on_progress(f"downloading {name}")
    try:
        return run(download_job(env, name)).out / "model"
    except JobError as error:
        raise ModelError(
            f"{name} cannot be downloaded: {error.message}",
            hint="check the name and the network, or give a folder",
        ) from error


def download_job(env: Env, name: str) -> Job:
    """Return the job that downloads a model. An upgrade of edgehone or of the environment does not repeat it."""
    return Job(
        "edgehone.worker.download:fetch", env, {"name": name}, online=True, environment_independent=True
    )
