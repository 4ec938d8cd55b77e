"""Provide edgehone-runner for a kind of processor: compiled once, into a managed folder under EDGEHONE_HOME."""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgehone.backends import registry
from edgehone.backends.llamacpp.runner.machines import HERE, Machine
from edgehone.backends.llamacpp.toolchain import SHA256
from edgehone.core.errors import SetupError
from edgehone.device.cpuinfo import ARM_FLAGS, X86_FLAGS
from edgehone.device.detect import detect
from edgehone.execution.environments import environment, toolchain
from edgehone.execution.home import file_lock, home
from edgehone.package.target import Proof

_MAKER = "edgehone.backends.llamacpp.runner.make:make"
_SOURCES = (".c", ".h", ".cpp", ".txt", ".toml")


@dataclass(frozen=True)
class Runner:
    """A compiled runner: the program, the licence of llama.cpp, and the versions of what made it."""

    program: Path
    licence: Path
    versions: Mapping[str, str]


def ensure(machine: Machine, tell: Callable[[str], None]) -> Runner:
    """Return the runner for a kind of processor, compiled if it is missing (several minutes).

    Raises SetupError without a compiler for that processor, without a package index, or if it does not compile.
    """
    for compiler in machine.compilers:
        if shutil.which(compiler) is None:
            raise SetupError(
                f"{compiler} is not installed: it compiles the runner for {machine.architecture}",
                hint=f"apt install {machine.compiler_packages}",
            )
    env = environment.ensure("llamacpp", registry.load("llamacpp").NEEDS, tell)
    name = f"runner-{machine.architecture}"
    arguments = (machine.architecture, machine.cpu, _sources())
    folder = toolchain.folder_of(name, _MAKER, arguments)
    _forget_builds_of_others(name, folder.parent)
    state = toolchain.ensure(name, _MAKER, env.python, tell, arguments)
    return Runner(folder / "edgehone-runner", folder / "LICENSE", state.versions)


def emulator_of(machine: Machine) -> tuple[str, ...]:
    """Return the words that run a program of that processor here: () if this processor can run it itself.

    Raises SetupError if an emulator is needed that is not installed.
    """
    here = detect()
    if platform.machine() == machine.machine and set(features_of(machine)) <= set(here.simd or ()):
        return ()
    path = shutil.which(machine.emulator)
    if path is None:
        raise SetupError(
            f"{machine.emulator} is not installed: it runs programs for {machine.architecture} on this machine",
            hint=f"apt install {machine.emulator_package}",
        )
    return (path, "-cpu", machine.emulate)


def features_of(machine: Machine) -> tuple[str, ...]:
    """Return the instruction sets of the runner's kernels by the names that devices have for them."""
    return tuple(dict.fromkeys(_named(machine.features)))


def proof_of(machine: Machine) -> Proof:
    """Return what a proof with the runner of that processor holds for."""
    return Proof(machine.machine, features_of(machine))


def _named(features: tuple[str, ...]) -> Iterator[str]:
    known = {**X86_FLAGS, **ARM_FLAGS}
    return (known[one] for one in features if one in known)


def _forget_builds_of_others(name: str, toolchains: Path) -> None:
    """Remove interrupted builds that cmake began from another checkout's files: it refuses to go on with them.

    It is done here, since a change of the module that compiles compiles llama.cpp again on every machine.
    """
    for cache in toolchains.glob(f"{name}-*.work/build/CMakeCache.txt"):
        with file_lock(home() / "locks" / f"toolchain-{name}.lock"):
            if cache.is_file() and f"CMAKE_HOME_DIRECTORY:INTERNAL={HERE}\n" not in cache.read_text("utf-8"):
                shutil.rmtree(cache.parent)


def _sources() -> str:
    digest = hashlib.sha256(SHA256.encode())
    for path in sorted(HERE.iterdir()):
        if path.suffix in _SOURCES:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
