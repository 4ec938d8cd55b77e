"""olive: Olive's passes, run by ONNX Runtime: graphs here, by `olive_graph`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from edgehone.backends.base import Needs, Recipe, Step, Support, WorkerJob
from edgehone.backends.olive_graph import graph_recipes, graph_steps, open_graph, supports_graph
from edgehone.errors import InputError
from edgehone.model.info import ModelInfo

__all__ = ["open_graph"]

NAME = "olive"
REFERENCE = False
NEEDS = Needs(
    lock=Path(__file__).parent.parent / "jobs" / "locks" / "olive.txt",
    versions=("olive-ai", "onnxruntime", "onnxruntime-genai", "onnx", "transformers", "torch"),
)


def supports(model: ModelInfo) -> Support:
    """Graphs only."""
    return supports_graph(model) if model.kind == "graph" else Support(False, ("language models: not yet",))


def recipes(model: ModelInfo) -> list[Recipe]:
    """Those of graphs."""
    return graph_recipes(model)


def steps(recipe: Recipe) -> Step:
    """Those of graphs."""
    return graph_steps(recipe)


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> NoReturn:
    """No language models: InputError."""
    raise InputError("the olive backend runs graphs, not language models", hint="edgehone backends")
