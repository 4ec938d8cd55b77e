"""The demo models: a small language model and a small graph that ship, for the demo, the tests and the checks."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def demo_model() -> Path:
    """Its folder: a Llama of 3.7 M parameters, trained by examples/train_demo_model.py."""
    return Path(str(files("edgehone").joinpath("data/demo-model")))


def demo_graph() -> Path:
    """An ONNX file: a classifier of 8×8 digits, trained by examples/train_digits_classifier.py.

    Beside it lie evaluation.npz and calibration.npz, its samples with labels.
    """
    return Path(str(files("edgehone").joinpath("data/digits/digits.onnx")))
