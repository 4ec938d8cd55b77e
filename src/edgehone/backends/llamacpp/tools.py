"""Find llama.cpp's parts in the folder that `toolchain` built, or in the user's override.

The override (EDGEHONE_TOOLCHAIN_LLAMACPP) may be a checkout of llama.cpp, its build folder or its bin folder.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import SetupError

# The files of an artifact: the model, and the picture encoder of a vision-language model.
ARTIFACT = "model.gguf"
PROJECTOR = "mmproj.gguf"

_LIBRARIES = ("libllama.so", "libllama.dylib", "llama.dll")
_VISION = ("libmtmd.so", "libmtmd.dylib", "mtmd.dll")
_HINT = (
    "unset EDGEHONE_TOOLCHAIN_LLAMACPP to have edgehone build llama.cpp, or set it to a folder that contains it: "
    "a checkout with its build/ folder"
)


@dataclass(frozen=True)
class Toolchain:
    """A folder that contains llama.cpp."""

    folder: Path

    @classmethod
    def at(cls, folder: Path | None) -> Toolchain:
        """Return the toolchain in a folder. Raises SetupError if there is no such folder."""
        if folder is None or not folder.is_dir():
            named = f"{folder} is not a folder" if folder else "the job has no toolchain"
            raise SetupError(f"no llama.cpp: {named}", hint="edgehone backends install llamacpp")
        return cls(folder)

    def tool(self, name: str) -> Path:
        """Return the path of an executable. Raises SetupError if it is missing."""
        paths = [folder / (name + end) for folder in self._binaries() for end in ("", ".exe")]
        return self._first(paths, name)

    def convert(self) -> Path:
        """Return the path of convert_hf_to_gguf.py. Raises SetupError if it or a package it imports is missing."""
        from edgehone.backends.llamacpp.toolchain import CONVERTER

        bases = [self.folder / "convert", self.folder, self.folder.parent, self.folder.parent.parent]
        script = self._first([base / CONVERTER[0] for base in bases], CONVERTER[0])
        for name in CONVERTER[1:]:
            if not (script.parent / name).is_dir():
                raise SetupError(f"{script.parent} has {CONVERTER[0]} but no {name}/", hint=_HINT)
        return script

    def binding(self) -> Any:
        """Import the module llama_cpp.llama_cpp, which loads its library.

        It is the folder's own module, built for the folder's library, or else an installed llama_cpp with its library.
        """
        bundled = self.folder / "python"
        if (bundled / "llama_cpp").is_dir():
            libraries = [folder / name for folder in self._binaries() for name in _LIBRARIES]
            os.environ["LLAMA_CPP_LIB_PATH"] = str(self._first(libraries, _LIBRARIES[0]).parent)
            sys.path.insert(0, str(bundled))
        try:
            return importlib.import_module("llama_cpp.llama_cpp")
        except ModuleNotFoundError as error:
            raise SetupError(
                f"{self.folder} has no python/llama_cpp, and llama_cpp is not installed here ({error})",
                hint=f"install llama-cpp-python into {sys.prefix}, or unset EDGEHONE_TOOLCHAIN_LLAMACPP",
            ) from error
        except (OSError, RuntimeError, AttributeError) as error:
            raise SetupError(f"llama.cpp's library cannot be loaded: {error}", hint=_HINT) from error

    def vision_binding(self) -> Any:
        """Import llama_cpp.mtmd_cpp, the binding of libmtmd. Raises SetupError if this llama.cpp has no libmtmd."""
        self.binding()
        paths = [folder / name for folder in self._binaries() for name in _VISION]
        os.environ["MTMD_CPP_LIB"] = str(self._first(paths, _VISION[0]).parent)
        try:
            return importlib.import_module("llama_cpp.mtmd_cpp")
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            raise SetupError(f"libmtmd cannot be loaded: {error}", hint=_HINT) from error

    def _binaries(self) -> list[Path]:
        return [self.folder / sub for sub in ("bin", ".", "build/bin")]

    def _first(self, paths: Sequence[Path], what: str) -> Path:
        for path in paths:
            if path.is_file():
                return path
        searched = ", ".join(dict.fromkeys(str(path.parent) for path in paths))
        raise SetupError(f"no {what} in {self.folder} (searched {searched})", hint=_HINT)


def toolchain_of(job: WorkerJob) -> Toolchain:
    """Return the job's toolchain. Raises SetupError if it has none."""
    return Toolchain.at(job.toolchain)
