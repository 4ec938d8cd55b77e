"""Run a GGUF file where it lies in another file, such as an APK, without copying it (worker side)."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.package.answers import ended


def answers(job: WorkerJob) -> dict[str, Any]:
    """Continue prompts greedily with the model that begins at args["offset"] of the file, memory-mapped.

    args: offset (bytes), settings, prompts (lists of ids), count (the most tokens of an answer), eos (ids that end an
    answer). inputs: package (the file). Returns answers (lists of ids).
    """
    from edgehone.backends.llamacpp.session import LlamaSession
    from edgehone.backends.llamacpp.tools import toolchain_of

    library = _InPlace(toolchain_of(job).binding(), job.args["offset"])
    settings = {name: value for name, value in job.args["settings"].items() if name != "load"}
    session = LlamaSession(library, job.inputs["package"], settings, job.threads)
    found = [session.generate(prompt, job.args["count"]).ids for prompt in job.args["prompts"]]
    session.close()
    library.close()
    return {"answers": ended(found, job.args["eos"])}


class _InPlace:
    """llama.cpp's binding, which loads a model from an offset of its file."""

    def __init__(self, library: Any, offset: int) -> None:
        self._library, self._offset = library, offset
        self._c = ctypes.CDLL(None)
        self._c.fopen.restype = ctypes.c_void_p
        self._c.fopen.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        self._c.fseek.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_int]
        self._c.fclose.argtypes = [ctypes.c_void_p]
        self._file: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def llama_model_load_from_file(self, path: bytes, params: Any) -> Any:
        """Load the model at the offset."""
        self._file = self._c.fopen(path, b"rb")
        if not self._file or self._c.fseek(self._file, self._offset, os.SEEK_SET):
            raise EdgehoneError(f"{Path(os.fsdecode(path))} cannot be read at {self._offset}")
        return self._library.llama_model_load_from_file_ptr(self._file, params)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._c.fclose(self._file)
