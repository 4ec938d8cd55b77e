"""The llama.cpp of an image: this machine's own, or one that is compiled for a kind of processor."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from edgehone.backends import registry
from edgehone.backends.llamacpp import cross
from edgehone.backends.llamacpp.runner.machines import machine_of
from edgehone.backends.llamacpp.toolchain import SHA256
from edgehone.core.errors import SetupError
from edgehone.execution.environments import environment, toolchain
from edgehone.package.targets.container.base import runs_here

_MAKER: Final = "edgehone.backends.llamacpp.cross:make"
_ARCHITECTURES: Final[Mapping[str, str]] = {"amd64": "x86-64", "arm64": "arm64"}


def folder_of(backend: str, arch: str, cpu: str | None, tell: Callable[[str], None]) -> Path:
    """Return the folder of llama.cpp for an architecture: for this machine's processor as the backend has it.

    With `cpu`, or for another architecture, it is compiled for that instruction set if it is missing, which takes
    several minutes. Raises InputError for an unknown one, SetupError without a compiler or a package index.
    """
    env = environment.ensure(backend, registry.load(backend).NEEDS, tell)
    if cpu is None and runs_here(arch):
        assert env.toolchain is not None
        return env.toolchain
    machine = machine_of(_ARCHITECTURES[arch], cpu)
    for compiler in machine.compilers:
        if shutil.which(compiler) is None:
            raise SetupError(
                f"{compiler} is not installed: it compiles llama.cpp for {machine.architecture}",
                hint=f"apt install {machine.compiler_packages}",
            )
    made_of = hashlib.sha256("\0".join([SHA256, *cross.flags(machine)]).encode()).hexdigest()
    arguments = (machine.architecture, machine.cpu, made_of)
    name = f"server-{machine.architecture}"
    toolchain.ensure(name, _MAKER, env.python, tell, arguments)
    return toolchain.folder_of(name, _MAKER, arguments)
