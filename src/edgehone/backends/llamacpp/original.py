"""gguf: the reference backend for GGUF files, which llama.cpp runs unchanged.

No version of higher precision is available, so quality is measured against the file in its own precision, even if it is
quantized. Environment and toolchain are those of the llamacpp backend, which builds the candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgehone.backends.base import (
    Recipe,
    Step,
    Support,
)
from edgehone.backends.llamacpp import backend
from edgehone.backends.llamacpp.recipes import file_bits
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.llamacpp.session import LlamaSession
    from edgehone.backends.llamacpp.vocabulary import Vocabulary

NAME = "gguf"
REFERENCE = True
SESSIONS_OF = backend.NAME
NEEDS = replace(backend.NEEDS, environment=backend.NAME)

SENSITIVITY = Step(
    "edgehone.backends.pytorch.sensitivity:measure",
    inputs={"model": backend.CHECKPOINT},
    reads=("calibration",),
)

# Types that store weights without quantization.
_UNQUANTIZED = {"F32", "F16", "BF16", "F64"}


def supports(model: ModelInfo) -> Support:
    """Support complete GGUF files of language models. An architecture unknown to libllama fails on loading."""
    if reasons := refusals(model):
        return Support(False, tuple(reasons))
    lossy = sorted(set(model.dtypes) - _UNQUANTIZED)
    notes = ["quality is measured against the GGUF file"]
    if lossy:
        notes = [f"{notes[0]}, which is already quantized ({', '.join(lossy)})"]
    return Support(True, tuple(notes))


def refusals(model: ModelInfo) -> list[str]:
    """Return why a model is not supported; empty if it is."""
    if model.format != "gguf":
        return [f"only GGUF files are supported, not the format '{model.format}'"]
    return backend.gguf_refusals(model)


def recipes(model: ModelInfo) -> list[Recipe]:
    """Return the original only: the llamacpp backend builds the candidates."""
    return [original(model)]


def original(model: ModelInfo) -> Recipe:
    """Return the recipe of the unchanged file."""
    return Recipe(
        NAME,
        "original",
        effort="quick",
        exact=True,
        why="the unchanged GGUF file",
        bits=file_bits(model),
    )


def reference(model: ModelInfo) -> Recipe:
    """Return a recipe of the same file, since no higher precision is available."""
    return Recipe(
        NAME,
        "reference",
        effort="quick",
        exact=True,
        why="the reference for quality: the GGUF file in its own precision",
        bits=file_bits(model),
    )


def steps(recipe: Recipe) -> Step:
    """Return the step that links the file."""
    return backend.LINK_ORIGINAL


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> LlamaSession:
    """Open a session of the llamacpp backend (worker side)."""
    return backend.open_session(artifact, settings, job)


def start_runtime(kind: Literal["language", "graph"], job: WorkerJob) -> None:
    """Start libllama without a model (worker side)."""
    backend.start_runtime(kind, job)


def open_tokenizer(model: Path, job: WorkerJob) -> Vocabulary:
    """Open the vocabulary in the file (worker side). Raises ModelError with libllama's message if it has none."""
    from edgehone.backends.llamacpp.tools import Toolchain
    from edgehone.backends.llamacpp.vocabulary import Vocabulary

    return Vocabulary(Toolchain.at(job.toolchain).binding(), model)
