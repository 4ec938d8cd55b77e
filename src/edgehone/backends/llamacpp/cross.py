"""Compile llama-server for a kind of processor, such as another architecture's. The llamacpp environment's Python runs
`make`.

The folder is arranged as that of `toolchain`, whose source and options it has. As for the runner, the build's folder
stays until the build is complete, so a build that was interrupted continues where it ended.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edgehone.backends.llamacpp import toolchain
from edgehone.backends.llamacpp.runner import make as runner
from edgehone.backends.llamacpp.runner.machines import Machine, machine_of

TARGETS = ("llama-server", "mtmd")
_STEP = re.compile(r"^\[(\d+)/(\d+)\]")


def make(
    folder: Path, progress: Callable[[str], None], architecture: str, cpu: str, _made_of: str
) -> dict[str, str]:
    """Compile llama-server with its libraries into the empty `folder` and return its versions.

    `_made_of` is a digest of what else it depends on, which makes it part of the toolchain's key. version.json has the
    `features` that the processor needs. Raises SetupError without a package index or enough space, and for a failed
    build.
    """
    machine = machine_of(architecture, cpu)
    work = folder.parent / f"server-{architecture}-{cpu}-{toolchain.COMMIT[:7]}.work"
    # Private there, because a change of that module compiles the runner again on every machine.
    source = runner._unpacked(work, progress)
    started = time.perf_counter()
    _compile(machine, source / "vendor" / "llama.cpp", work, progress)
    seconds = time.perf_counter() - started
    toolchain._arrange(source, work / "build", folder)
    for path in (folder / "convert", *(folder / "bin").glob("*.cmake")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    facts = {
        **toolchain._version(source / "vendor" / "llama.cpp", machine.compilers[1], seconds),
        "flags": flags(machine),
        "targets": list(TARGETS),
        "cpu": cpu,
        "features": list(machine.features),
    }
    (folder / "version.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    shutil.rmtree(work)
    return {"llama.cpp": toolchain.COMMIT[:7], "cpu": cpu, "compiler": facts["compiler"]}


def flags(machine: Machine) -> list[str]:
    """Return the options of cmake for a kind of processor."""
    native = "-DGGML_NATIVE=ON"
    assert native in toolchain.FLAGS
    definitions = (
        "GGML_NATIVE=OFF",
        *machine.flags,
        "CMAKE_SYSTEM_NAME=Linux",
        f"CMAKE_SYSTEM_PROCESSOR={machine.machine}",
        f"CMAKE_C_COMPILER={machine.compilers[0]}",
        f"CMAKE_CXX_COMPILER={machine.compilers[1]}",
    )
    return [*(one for one in toolchain.FLAGS if one != native), *(f"-D{one}" for one in definitions)]


def _compile(machine: Machine, llama: Path, work: Path, progress: Callable[[str], None]) -> None:
    scripts = Path(sys.executable).parent
    cmake, build = str(scripts / "cmake"), str(work / "build")
    # Without the map, messages of failed assertions contain the path of this machine's folder.
    mapped = [f"-DCMAKE_{one}_FLAGS=-ffile-prefix-map={work}=." for one in ("C", "CXX")]
    folders = ["-S", str(llama), "-B", build, f"-DCMAKE_MAKE_PROGRAM={scripts / 'ninja'}"]
    toolchain._run(
        [cmake, "-G", "Ninja", *folders, *flags(machine), *mapped], "llama.cpp cannot be configured"
    )

    def watch(line: str) -> None:
        if hit := _STEP.match(line):
            progress(f"compiling llama-server for {machine.architecture} [{hit[1]}/{hit[2]}]")

    command = [cmake, "--build", build, "--parallel", str(toolchain._cores()), "--target", *TARGETS]
    toolchain._run(command, "llama.cpp does not compile", watch=watch)
