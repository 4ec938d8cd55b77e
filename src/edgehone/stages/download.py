"""Fetch a model from the hub: the one thing that ever asks the network for a model, and only when told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgehone.backends import registry
from edgehone.backends.base import WorkerJob
from edgehone.errors import InputError, JobError, ModelError
from edgehone.events import Emit, Event
from edgehone.jobs import environments
from edgehone.jobs.run import Job, run

# What a model is, without the copies in other formats that many repositories also hold.
WANTED = (
    "*.json",
    "*.safetensors",
    "*.model",
    "*.txt",
    "*.jinja",
    "LICENSE*",
    "NOTICE*",
    "README*",
    "USE_POLICY*",
)


def download(name: str, emit: Emit) -> Path:
    """The folder of the hub's model, fetched once. Raises ModelError if the hub does not give it."""
    if Path(name).exists():
        return Path(name)
    if name.count("/") != 1:
        raise InputError(
            f"'{name}' is neither a folder nor a hub name (owner/model)", hint="edgehone optimize --help"
        )

    def tell(what: str) -> None:
        emit(Event("", detail=what))

    env = environments.ensure("pytorch", registry.load("pytorch").NEEDS, tell)
    tell(f"downloading {name}")
    try:
        return run(Job("edgehone.stages.download:fetch", env, {"name": name}, online=True)).out / "model"
    except JobError as error:
        raise ModelError(
            f"{name} cannot be downloaded: {error.message}",
            hint="check the name and the network, or give a folder",
        ) from error


def fetch(job: WorkerJob) -> dict[str, Any]:
    """Fetch into out/model (worker side)."""
    from huggingface_hub import snapshot_download

    snapshot_download(job.args["name"], local_dir=job.out / "model", allow_patterns=list(WANTED))
    return {"name": job.args["name"]}
