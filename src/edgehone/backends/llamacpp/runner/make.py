"""Compile the runner for a kind of processor. The llamacpp environment's Python runs `make`.

The source of llama.cpp is that of the backend's toolchain. The build's folder, NAME.work beside the toolchains, stays
until the build is complete, so a build that was interrupted continues where it ended.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from edgehone.backends.llamacpp import toolchain
from edgehone.backends.llamacpp.runner.machines import HERE, Machine, machine_of
from edgehone.core.errors import SetupError

PROGRAM = "edgehone-runner"
FLAGS = (
    "CMAKE_BUILD_TYPE=Release",
    "GGML_NATIVE=OFF",
    "GGML_OPENMP=OFF",
    "GGML_CCACHE=OFF",
    "LLAMA_BUILD_NUMBER=0",
    f"LLAMA_BUILD_COMMIT={toolchain.COMMIT[:7]}",
    f"GGML_BUILD_COMMIT={toolchain.COMMIT[:7]}",
    "LLAMA_ALL_WARNINGS=OFF",
    "GGML_ALL_WARNINGS=OFF",
)
_STEP = re.compile(r"^\[(\d+)/(\d+)\]")


def make(
    folder: Path, progress: Callable[[str], None], architecture: str, cpu: str, _sources: str
) -> dict[str, str]:
    """Compile the runner into the empty `folder` and return its versions.

    `_sources` is a digest of the files here that the program is made of, which makes it part of the toolchain's key.
    Raises SetupError without a compiler, a package index or enough space, and for a failed build.
    """
    machine = machine_of(architecture, cpu)
    for compiler in machine.compilers:
        if shutil.which(compiler) is None:
            raise SetupError(
                f"{compiler} is not installed: it compiles the runner for {architecture}",
                hint=f"apt install {machine.compiler_packages}",
            )
    work = folder.parent / f"runner-{architecture}-{cpu}-{toolchain.COMMIT[:7]}.work"
    source = _unpacked(work, progress)
    _compile(machine, source / "vendor" / "llama.cpp", work, progress)
    shutil.copy2(work / "build" / PROGRAM, folder / PROGRAM)
    shutil.copy2(source / "vendor" / "llama.cpp" / "LICENSE", folder / "LICENSE")
    shown = subprocess.run([machine.compilers[1], "--version"], capture_output=True, text=True, check=False)
    versions = {"llama.cpp": toolchain.COMMIT[:7], "cpu": cpu, "compiler": shown.stdout.partition("\n")[0]}
    (folder / "version.json").write_text(json.dumps(versions, indent=1) + "\n", "utf-8")
    shutil.rmtree(work)
    return versions


def _unpacked(work: Path, progress: Callable[[str], None]) -> Path:
    """Return the folder of the source distribution, which is downloaded unless an interrupted build has it already."""
    complete = work / "unpacked"
    if not complete.is_file():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        # Private there, because a change of that module compiles llama.cpp again on every machine.
        toolchain._source(work, progress)
        complete.touch()
    return next(work.glob("llama_cpp_python-*/"))


def _compile(machine: Machine, llama: Path, work: Path, progress: Callable[[str], None]) -> None:
    scripts = Path(sys.executable).parent
    # Without the map, messages of failed assertions contain the path of this machine's folder.
    mapped = f"-ffile-prefix-map={work}=."
    definitions = (
        *FLAGS,
        *machine.flags,
        f"CMAKE_MAKE_PROGRAM={scripts / 'ninja'}",
        "CMAKE_SYSTEM_NAME=Linux",
        f"CMAKE_SYSTEM_PROCESSOR={machine.machine}",
        f"CMAKE_C_COMPILER={machine.compilers[0]}",
        f"CMAKE_CXX_COMPILER={machine.compilers[1]}",
        f"CMAKE_C_FLAGS={mapped}",
        f"CMAKE_CXX_FLAGS={mapped}",
        f"LLAMA_SOURCE={llama}",
        f"MARCH={machine.cpu}",
        f"BASELINE={machine.baseline}",
        f"FEATURES={' '.join(machine.features)}",
    )
    build = str(work / "build")
    options = [f"-D{one}" for one in definitions]
    command = [str(scripts / "cmake"), "-G", "Ninja", "-S", str(HERE), "-B", build, *options]
    toolchain._run(command, "the runner cannot be configured")
    command = [str(scripts / "cmake"), "--build", build, "--target", PROGRAM]
    command += ["--parallel", str(toolchain._cores())]

    def watch(line: str) -> None:
        if hit := _STEP.match(line):
            progress(f"compiling the runner for {machine.architecture} [{hit[1]}/{hit[2]}]")

    toolchain._run(command, "the runner does not compile", watch=watch)
