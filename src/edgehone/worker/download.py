"""Download a model from the hub."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import WorkerJob

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


def fetch(job: WorkerJob) -> dict[str, Any]:
    """Fetch into out/model (worker side)."""
    from huggingface_hub import snapshot_download

    snapshot_download(job.args["name"], local_dir=job.out / "model", allow_patterns=list(WANTED))
    return {"name": job.args["name"]}
