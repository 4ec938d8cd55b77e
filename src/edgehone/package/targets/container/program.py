"""What runs in an image: edgehone itself, llama.cpp where the backend needs it, and the first process."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

from edgehone.backends import registry
from edgehone.core.errors import InputError, SetupError
from edgehone.execution.source_digest import package_path
from edgehone.package.targets.container.base import Base, runs_here
from edgehone.package.targets.container.llama import folder_of

HOME: Final = "opt/edgehone"
LLAMA: Final = "opt/llama.cpp"
_HERE = Path(__file__).parent
# The module of the image that `modules.py` is copied to, and what every process of the image does with it at its start.
STORED: Final = "edgehone_modules"
_AT_START: Final = f"import {STORED}; {STORED}.use()\n"
# Models and texts that ship with edgehone.
_EXAMPLES = ("demo-model", "digits", "texts")
_MACHINES: Final[Mapping[int, str]] = {62: "amd64", 183: "arm64"}  # e_machine of ELF
_SYSTEM_INFO = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.llama_print_system_info.restype = ctypes.c_char_p
print(library.llama_print_system_info().decode())
"""


@dataclass(frozen=True)
class Program:
    """What was written: the instruction sets that it needs, and the version.json of llama.cpp ({} without it).

    `is_unknown` says that a llama.cpp for another architecture may need further instruction sets.
    """

    cpu: tuple[str, ...]
    llama: Mapping[str, Any]
    is_unknown: bool


def site_packages(base: Base) -> str:
    """Return the folder of Python packages in an image."""
    return f"{HOME}/lib/python{base.version}/site-packages"


def write_environment(tree: Path, base: Base) -> None:
    """Write a virtual environment of the base's Python: both processes of a server run in it."""
    binaries = tree / HOME / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to(base.python)
    folder = base.python.rpartition("/")[0]
    text = f"home = {folder}\ninclude-system-site-packages = false\nversion = {base.version}\n"
    (tree / HOME / "pyvenv.cfg").write_text(text, "utf-8")


def write_edgehone(tree: Path, base: Base) -> None:
    """Write edgehone as it is installed here, without the models that ship with it."""
    place = tree / site_packages(base)
    place.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", *_EXAMPLES)
    shutil.copytree(package_path("edgehone"), place / "edgehone", ignore=ignored)
    own = distribution("edgehone")
    notes = place / f"edgehone-{own.version}.dist-info"
    notes.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (notes / name).write_text(own.read_text(name) or "", "utf-8")
    shutil.copyfile(_HERE / "start.py", tree / HOME / "start.py")
    (place / STORED).mkdir()
    shutil.copyfile(_HERE / "modules.py", place / STORED / "__init__.py")
    (place / f"{STORED}.pth").write_text(_AT_START, "utf-8")


def write_program(
    tree: Path, backend: str, arch: str, options: Mapping[str, str], tell: Callable[[str], None]
) -> Program:
    """Write the backend's compiled programs, and cpu.json. `options` are the target's, with `toolchain` or `cpu`.

    Raises InputError for a toolchain of another machine.
    """
    tables = tomllib.loads((_HERE / "cpu.toml").read_text("utf-8"))
    cpu, llama = set(tables["wheels"][arch]), {}
    compiled = registry.load(backend).NEEDS.toolchain is not None
    if compiled:
        given = options.get("toolchain")
        source = Path(given) if given else folder_of(backend, arch, options.get("cpu"), tell)
        features = _write_llama(source, tree / LLAMA, arch)
        cpu |= {flag for name in features for flag in tables["llamacpp"].get(name, ())}
        llama = _version(source)
        cpu |= set(llama.get("features", ()))
    (tree / HOME).mkdir(parents=True, exist_ok=True)
    (tree / HOME / "cpu.json").write_text(json.dumps(sorted(cpu)) + "\n", "utf-8")
    is_unknown = compiled and not runs_here(arch) and "features" not in llama
    return Program(tuple(sorted(cpu)), llama, is_unknown)


def _write_llama(source: Path, target: Path, arch: str) -> list[str]:
    """Copy llama-server with its libraries, and the binding; return the instruction sets by llama.cpp's names."""
    binaries = next(
        (source / name for name in ("bin", ".", "build/bin") if (source / name / "llama-server").is_file()),
        None,
    )
    if binaries is None:
        raise InputError(
            f"{source} has no llama-server", hint="give a folder of llama.cpp with bin/llama-server"
        )
    found = _MACHINES.get(_machine(binaries / "llama-server"), "another machine")
    if found != arch:
        raise InputError(
            f"{binaries}/llama-server is for {found}, not {arch}", hint=f"give --set arch={found}"
        )
    (target / "bin").mkdir(parents=True)
    for path in sorted(binaries.iterdir()):
        if path.name == "llama-server" or (
            ".so" in path.name and "bench" not in path.name and "quantize" not in path.name
        ):
            shutil.copy2(path, target / "bin" / path.name, follow_symlinks=False)
    if (source / "python").is_dir():
        shutil.copytree(source / "python", target / "python", ignore=shutil.ignore_patterns("__pycache__"))
    if (source / "LICENSE").is_file():
        shutil.copyfile(source / "LICENSE", target / "LICENSE")
    return _features(binaries / "libllama.so") if runs_here(arch) else []


def _features(library: Path) -> list[str]:
    """Return what a library of llama.cpp was compiled for, as it says itself, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _SYSTEM_INFO, str(library)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason"]
        raise SetupError(f"{library} does not say what it was compiled for: {last[0]}")
    return re.findall(r"(\w+) = 1\b", done.stdout)


def _machine(path: Path) -> int:
    """Return the number of the machine that an ELF file is for; 0 for another file."""
    with path.open("rb") as file:
        head = file.read(20)
    return int.from_bytes(head[18:20], "little") if head[:4] == b"\x7fELF" else 0


def _version(source: Path) -> dict[str, Any]:
    path = source / "version.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}
