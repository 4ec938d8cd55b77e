"""gguf: a GGUF file as the original, run by llama.cpp as it is.

There is nothing above the file: what quality is judged against is the file in its own precision, which may be
quantized already. Environment and toolchain are those of the llamacpp backend, which makes the candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import (
    Recipe,
    Step,
    Support,
)
from edgehone.backends.llamacpp import backend
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.llamacpp.session import LlamaSession
    from edgehone.backends.llamacpp.vocabulary import Vocabulary

NAME = "gguf"
REFERENCE = True
NEEDS = replace(backend.NEEDS, environment=backend.NAME)

# A type that keeps a model's weights as they were trained; everything else has lost something before.
_UNQUANTIZED = {"F32", "F16", "BF16", "F64"}


def supports(model: ModelInfo) -> Support:
    """Whole GGUF files of language models; whether libllama knows the architecture shows when it is loaded."""
    if reasons := refusals(model):
        return Support(False, tuple(reasons))
    lossy = sorted(set(model.dtypes) - _UNQUANTIZED)
    notes = ["quality is judged against the GGUF file as it is"]
    if lossy:
        notes = [f"{notes[0]}, which is quantized already ({', '.join(lossy)})"]
    return Support(True, tuple(notes))


def refusals(model: ModelInfo) -> list[str]:
    """Why a model cannot be taken as a GGUF file; empty where it can."""
    if model.format != "gguf":
        return [f"only GGUF files are run as they are, not the format '{model.format}'"]
    return backend.gguf_refusals(model)


def recipes(model: ModelInfo) -> list[Recipe]:
    """The original and nothing else: the llamacpp backend makes the candidates."""
    return [original(model)]


def original(model: ModelInfo) -> Recipe:
    """The file as it is, run by llama.cpp."""
    return Recipe(NAME, "original", effort="quick", exact=True, why="the GGUF file as it is")


def reference(model: ModelInfo) -> Recipe:
    """The same file: there is no higher precision of it."""
    return Recipe(
        NAME,
        "reference",
        effort="quick",
        exact=True,
        why="what quality is judged by: the GGUF file in its own precision",
    )


def steps(recipe: Recipe) -> Step:
    """A link to the file."""
    return backend.LINK_ORIGINAL


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> LlamaSession:
    """The llamacpp backend's session."""
    return backend.open_session(artifact, settings, job)


def open_tokenizer(model: Path, job: WorkerJob) -> Vocabulary:
    """The vocabulary in the file (worker side). EdgehoneError with libllama's words when it has none."""
    from edgehone.backends.llamacpp.tools import Toolchain
    from edgehone.backends.llamacpp.vocabulary import Vocabulary

    return Vocabulary(Toolchain.at(job.toolchain).binding(), model)
