"""Convert an encoder to GGUF (worker side)."""

from __future__ import annotations

from typing import Any

from edgehone.backends.llamacpp import convert_without_pretokenizer
from edgehone.backends.llamacpp.build import run_converter
from edgehone.backends.sessions import WorkerJob


def convert(job: WorkerJob) -> dict[str, Any]:
    """Convert an encoder as `build.convert` does, even if llama.cpp does not know its pre-tokenizer.

    The script that wraps the converter is imported for its path, so that its code is part of the job's key.
    """
    return run_converter(job, [convert_without_pretokenizer.__file__])
