"""The demo model: a small real language model that ships, for the demo, the tests and `edgehone backends check`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def demo_model() -> Path:
    """Its folder: a Llama of 3.7 M parameters, trained by examples/train_demo_model.py."""
    return Path(str(files("edgehone").joinpath("data/demo-model")))
