"""The llama.cpp of an image: this machine's own, one that is compiled for a kind of processor, or one of the user."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgehone.backends import registry
from edgehone.backends.llamacpp import cross
from edgehone.backends.llamacpp.runner.machines import Machine, machine_of
from edgehone.backends.llamacpp.toolchain import SHA256
from edgehone.core.errors import InputError, SetupError
from edgehone.execution.environments import environment, toolchain
from edgehone.package.targets.container.base import runs_here

LLAMA: Final = "opt/llama.cpp"
_MAKER: Final = "edgehone.backends.llamacpp.cross:make"
_ARCHITECTURES: Final[Mapping[str, str]] = {"amd64": "x86-64", "arm64": "arm64"}
_MACHINES: Final[Mapping[int, str]] = {62: "amd64", 183: "arm64"}  # e_machine of ELF
_SYSTEM_INFO = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.llama_print_system_info.restype = ctypes.c_char_p
print(library.llama_print_system_info().decode())
"""


@dataclass(frozen=True)
class Llama:
    """A llama.cpp in an image: the instruction sets that it needs, by the names of /proc/cpuinfo, and its version.json.

    `is_unknown` says that it is for another architecture, and may need further instruction sets.
    """

    cpu: tuple[str, ...]
    version: Mapping[str, Any]
    is_unknown: bool


def write_llama(
    tree: Path,
    backend: str,
    arch: str,
    options: Mapping[str, str],
    tell: Callable[[str], None],
    *,
    binding: bool,
) -> Llama:
    """Write llama-server with its libraries and licence into a tree, and with `binding` the one of Python.

    `options` are the target's, with `toolchain` or `cpu`. Raises InputError for a toolchain of another machine, and as
    `folder_of` does.
    """
    given = options.get("toolchain")
    source = Path(given) if given else folder_of(backend, arch, options.get("cpu"), tell)
    names, target, version = _copied(source, tree / LLAMA, arch), tree / LLAMA, _version(source)
    if binding and (source / "python").is_dir():
        shutil.copytree(source / "python", target / "python", ignore=shutil.ignore_patterns("__pycache__"))
    table = tomllib.loads(Path(__file__).with_name("cpu.toml").read_text("utf-8"))["llamacpp"]
    cpu = {flag for name in names for flag in table.get(name, ())} | set(version.get("features", ()))
    return Llama(tuple(sorted(cpu)), version, not runs_here(arch) and "features" not in version)


def folder_of(backend: str, arch: str, cpu: str | None, tell: Callable[[str], None]) -> Path:
    """Return the folder of llama.cpp for an architecture: for this machine's processor as the backend has it.

    With `cpu`, or for another architecture, it is compiled for that instruction set if it is missing, which takes
    several minutes. Raises InputError for an unknown one, SetupError without a compiler or a package index.
    """
    env = environment.ensure(backend, registry.load(backend).NEEDS, tell)
    if cpu is None and runs_here(arch):
        assert env.toolchain is not None
        return env.toolchain
    machine = machine_with_compilers(arch, cpu)
    made_of = hashlib.sha256("\0".join([SHA256, *cross.flags(machine)]).encode()).hexdigest()
    arguments = (machine.architecture, machine.cpu, made_of)
    name = f"server-{machine.architecture}"
    toolchain.ensure(name, _MAKER, env.python, tell, arguments)
    return toolchain.folder_of(name, _MAKER, arguments)


def machine_with_compilers(arch: str, cpu: str | None = None) -> Machine:
    """Return a kind of processor by the architecture of an image. Raises SetupError if a compiler for it is missing."""
    machine = machine_of(_ARCHITECTURES[arch], cpu)
    for compiler in machine.compilers:
        if shutil.which(compiler) is None:
            raise SetupError(
                f"{compiler} is not installed: it compiles llama.cpp for {machine.architecture}",
                hint=f"apt install {machine.compiler_packages}",
            )
    return machine


def _copied(source: Path, target: Path, arch: str) -> list[str]:
    """Copy llama-server, its libraries and its licence; return the instruction sets by llama.cpp's names."""
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
