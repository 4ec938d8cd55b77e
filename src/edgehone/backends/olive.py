"""olive: ONNX by the model builder, weights quantized by Olive's passes, run by ONNX Runtime GenAI on the CPU."""

from __future__ import annotations

from pathlib import Path

from edgehone.backends.base import Needs, Recipe, Support
from edgehone.model.info import ModelInfo

NAME = "olive"
REFERENCE = False
NEEDS = Needs(
    lock=Path(__file__).parent.parent / "jobs" / "locks" / "olive.txt",
    versions=("olive-ai", "onnxruntime", "onnxruntime-genai", "onnx", "transformers", "torch"),
)


def supports(model: ModelInfo) -> Support:
    """Nothing yet."""
    return Support(False, ("no recipe yet",))


def recipes(model: ModelInfo) -> list[Recipe]:
    """None yet."""
    return []


def steps(recipe):
    raise NotImplementedError


open_session = steps
