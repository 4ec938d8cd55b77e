"""Where llama.cpp's parts are: in the folder that `llamacpp_toolchain` made, or in one of the user's own.

A user's own folder (EDGEHONE_TOOLCHAIN_LLAMACPP) may be a checkout of llama.cpp, its build or its bin folder.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.backends.llamacpp.toolchain import CONVERTER
from edgehone.core.errors import SetupError

_LIBRARIES = ("libllama.so", "libllama.dylib", "llama.dll")
_VISION = ("libmtmd.so", "libmtmd.dylib", "mtmd.dll")
_HINT_OWN = (
    "unset EDGEHONE_TOOLCHAIN_LLAMACPP to have llama.cpp built, or give a folder that has it: "
    "a checkout with its build/ folder"
)


@dataclass(frozen=True)
class Toolchain:
    """A folder with llama.cpp in it."""

    folder: Path

    @classmethod
    def at(cls, folder: Path | None) -> Toolchain:
        """SetupError when there is no such folder."""
        if folder is None or not folder.is_dir():
            named = f"no such folder: {folder}" if folder else "none was given"
            raise SetupError(f"no llama.cpp: {named}", hint="edgehone backends install llamacpp")
        return cls(folder)

    def tool(self, name: str) -> Path:
        """The path of an executable; SetupError names it when it is missing."""
        places = [place / (name + end) for place in self._binaries() for end in ("", ".exe")]
        return self._first(places, f"{name}")

    def convert(self) -> Path:
        """The path of convert_hf_to_gguf.py, with what it imports beside it."""
        bases = [self.folder / "convert", self.folder, self.folder.parent, self.folder.parent.parent]
        script = self._first([base / CONVERTER[0] for base in bases], CONVERTER[0])
        for name in CONVERTER[1:]:
            if not (script.parent / name).is_dir():
                raise SetupError(f"{script.parent} has {CONVERTER[0]} but no {name}/", hint=_HINT_OWN)
        return script

    def binding(self) -> Any:
        """The module llama_cpp.llama_cpp with its library loaded.

        That of this folder, made for this folder's library, else an installed llama_cpp with its own.
        """
        ours = self.folder / "python"
        if (ours / "llama_cpp").is_dir():
            libraries = [place / name for place in self._binaries() for name in _LIBRARIES]
            os.environ["LLAMA_CPP_LIB_PATH"] = str(self._first(libraries, _LIBRARIES[0]).parent)
            sys.path.insert(0, str(ours))
        try:
            return importlib.import_module("llama_cpp.llama_cpp")
        except ModuleNotFoundError as error:
            raise SetupError(
                f"{self.folder} has no python/llama_cpp, and llama_cpp is not installed here ({error})",
                hint=f"install llama-cpp-python into {sys.prefix}, or unset EDGEHONE_TOOLCHAIN_LLAMACPP",
            ) from error
        except (OSError, RuntimeError, AttributeError) as error:
            raise SetupError(f"llama.cpp's library cannot be loaded: {error}", hint=_HINT_OWN) from error

    def vision_binding(self) -> Any:
        """The module llama_cpp.mtmd_cpp, which shows pictures. SetupError where this llama.cpp has no libmtmd."""
        self.binding()
        places = [place / name for place in self._binaries() for name in _VISION]
        os.environ["MTMD_CPP_LIB"] = str(self._first(places, _VISION[0]).parent)
        try:
            return importlib.import_module("llama_cpp.mtmd_cpp")
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            raise SetupError(f"libmtmd cannot be loaded: {error}", hint=_HINT_OWN) from error

    def _binaries(self) -> list[Path]:
        return [self.folder / sub for sub in ("bin", ".", "build/bin")]

    def _first(self, places: Sequence[Path], what: str) -> Path:
        for place in places:
            if place.is_file():
                return place
        looked = ", ".join(dict.fromkeys(str(place.parent) for place in places))
        raise SetupError(f"no {what} in {self.folder} (looked in {looked})", hint=_HINT_OWN)
