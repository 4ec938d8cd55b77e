"""Download a model from the Hugging Face Hub (worker side)."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import WorkerJob

# The files of a model, without the copies in other formats that many repositories also hold.
PATTERNS = (
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
    """Download the model args["name"] to out/model."""
    from huggingface_hub import snapshot_download

    snapshot_download(job.args["name"], local_dir=job.out / "model", allow_patterns=list(PATTERNS))
    return {"name": job.args["name"]}
