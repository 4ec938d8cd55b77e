"""The shipped demo models: a small language model and a small graph, for the demo and the tests."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def demo_model() -> Path:
    """Return the folder of a Llama of 3.7 M parameters, trained by examples/train_demo_model.py."""
    return Path(str(files("edgehone").joinpath("data/demo-model")))


def demo_graph() -> Path:
    """Return the ONNX file of a classifier of 8×8 digits, trained by examples/train_digits_classifier.py.

    Its folder also has labelled samples in evaluation.npz and calibration.npz.
    """
    return Path(str(files("edgehone").joinpath("data/digits/digits.onnx")))
