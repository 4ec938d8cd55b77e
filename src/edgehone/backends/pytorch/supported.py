"""The model types that the pinned transformers supports."""

from __future__ import annotations

from functools import cache
from pathlib import Path

# Read in workers, so part of the key of their jobs (edgehone.execution.source_digest).
WORKER_DATA_FILES = ("vision.txt",)

# Vision-language models without a picture processor that needs Pillow only (`picture_processors`).
NEEDS_TORCHVISION = ("phi4_multimodal",)


@cache
def architectures() -> frozenset[str]:
    """Return the model types that the pinned transformers runs as causal language models."""
    lines = (Path(__file__).parent / "architectures.txt").read_text("utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


@cache
def vision_model_types() -> frozenset[str]:
    """Return the model types that the pinned transformers runs as vision-language models (image-text-to-text)."""
    lines = (Path(__file__).parent / "vision.txt").read_text("utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))
