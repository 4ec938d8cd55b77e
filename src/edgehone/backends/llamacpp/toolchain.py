"""Download llama.cpp as source, compile it once, and arrange it in one folder that `tools` reads.

The llamacpp environment's Python runs `setup`. The environment's lock contains pip, cmake and ninja, so the system
only needs a C++ compiler. The folder contains
    bin/         llama-quantize, llama-imatrix, llama-bench and the shared libraries (also libmtmd), linked by $ORIGIN
    python/      llama_cpp, the low-level ctypes binding
    convert/     convert_hf_to_gguf.py, conversion/, gguf-py/
    LICENSE  version.json
All output of the tools goes to standard output, which the caller logs. Changed code in this file means a new
toolchain, so code that only reads the folder is elsewhere.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgehone.core.errors import SetupError

Progress = Callable[[str], None]

# The source distribution of the binding contains the matching llama.cpp.
PACKAGE = "llama-cpp-python==0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
# From .git/modules/vendor/llama.cpp/HEAD in the source distribution.
COMMIT = "0c1e57098bba43ac29e6e3b677cdceebdd22334f"
TARGETS = ("llama-quantize", "llama-imatrix", "llama-bench", "llama-server", "mtmd")
FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_NATIVE=ON",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_TOOLS=ON",
    "-DMTMD_VIDEO=OFF",
    "-DLLAMA_ALL_WARNINGS=OFF",
    # Relative library paths, so that the folder can be moved.
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
    f"-DCMAKE_INSTALL_RPATH={'@loader_path' if sys.platform == 'darwin' else '$ORIGIN'}",
    # Without these, the build would read the version from any Git repository that surrounds the folder.
    "-DLLAMA_BUILD_NUMBER=0",
    f"-DLLAMA_BUILD_COMMIT={COMMIT[:7]}",
    f"-DGGML_BUILD_COMMIT={COMMIT[:7]}",
)
# The conversion script, and the folders that it imports from.
CONVERTER = ("convert_hf_to_gguf.py", "conversion", "gguf-py")
BINDING = ("llama_cpp.py", "mtmd_cpp.py", "_ctypes_extensions.py")
# Folders of vocabularies, pictures and documents: more than half of the source distribution, and not needed.
_UNUSED = ("models", "media", "docs", "tests", "examples", "benches", "pocs")
_LLAMA = "vendor/llama.cpp"
_NINJA = re.compile(r"^\[(\d+)/(\d+)\]")
_CAUSE = re.compile(r"fatal error|error:|CMake Error|No space left|Killed|connection broken", re.I)


def setup(folder: Path, progress: Progress) -> dict[str, str]:
    """Download and compile llama.cpp in the empty `folder`; return its version.

    Raises SetupError without a compiler, a package index or enough space, for a wrong digest, and for a failed build
    (with the tool's error).
    """
    compiler = _compiler()
    started = time.perf_counter()
    work = folder / "work"
    try:
        work.mkdir(parents=True, exist_ok=True)
        source = _source(work, progress)
        _compile(source / _LLAMA, work / "build", progress)
        _arrange(source, work / "build", folder)
        facts = _version(source / _LLAMA, compiler, time.perf_counter() - started)
        (folder / "version.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
        shutil.rmtree(work)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise SetupError(
            f"cannot write llama.cpp into {folder}: {error.strerror or error}",
            hint="free some space, or set EDGEHONE_HOME to a folder on another disk" if full else None,
        ) from error
    return {"llama.cpp": f"{facts['llama.cpp']} ({COMMIT[:7]})"}


def _compiler() -> str:
    for name in filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++")):
        if found := shutil.which(name):
            return found
    hint = "xcode-select --install" if sys.platform == "darwin" else "apt-get install g++"
    raise SetupError("no C++ compiler: llama.cpp is compiled on first use", hint=hint)


def _source(work: Path, progress: Progress) -> Path:
    """Download, check and unpack the source distribution; return its folder."""
    progress(f"downloading {PACKAGE}")
    # pip builds only the metadata, which it needs, with the packages of the lock.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
    command += [
        "--no-build-isolation",
        "--disable-pip-version-check",
        "--retries",
        "2",
        "-d",
        str(work),
        PACKAGE,
    ]
    _run(command, f"cannot download {PACKAGE}", "check the connection to the package index")
    archive = next(work.glob("*.tar.gz"))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SetupError(
            f"{archive.name} has the SHA-256 {digest}, not {SHA256}",
            hint="the package index returned a different file than expected: check which index pip uses",
        )
    progress("unpacking llama.cpp")
    with tarfile.open(archive) as tar:
        members = [member for member in tar if _is_needed(member.name)]
        if hasattr(tarfile, "data_filter"):
            tar.extractall(work, members, filter="data")
        else:  # Python before 3.11.4; the archive's digest is pinned
            tar.extractall(work, members)
    archive.unlink()
    return next(work.glob("llama_cpp_python-*"))


def _is_needed(name: str) -> bool:
    within = name.partition("/")[2]
    unused = (".git/", *(f"{_LLAMA}/{part}/" for part in _UNUSED))
    return not within.startswith(unused)


def _compile(source: Path, build: Path, progress: Progress) -> None:
    progress("configuring llama.cpp")
    scripts = Path(sys.executable).parent
    cmake = str(scripts / "cmake")
    folders = ["-S", str(source), "-B", str(build), f"-DCMAKE_MAKE_PROGRAM={scripts / 'ninja'}"]
    _run([cmake, "-G", "Ninja", *folders, *FLAGS], "llama.cpp cannot be configured")
    command = [cmake, "--build", str(build), "--parallel", str(_cores()), "--target", *TARGETS]

    def watch(line: str) -> None:
        if hit := _NINJA.match(line):
            progress(f"compiling llama.cpp [{hit[1]}/{hit[2]}]")

    _run(command, "llama.cpp does not compile", watch=watch)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _arrange(source: Path, build: Path, folder: Path) -> None:
    llama = source / _LLAMA
    shutil.copytree(build / "bin", folder / "bin", symlinks=True)
    binding = folder / "python" / "llama_cpp"
    binding.mkdir(parents=True)
    # The package's own __init__ imports the high-level interface and its dependencies; only the C functions are needed.
    (binding / "__init__.py").write_text("", "utf-8")
    for name in BINDING:
        shutil.copy2(source / "llama_cpp" / name, binding / name)
    shutil.copy2(source / "LICENSE.md", binding / "LICENSE.md")
    convert = folder / "convert"
    convert.mkdir()
    shutil.copy2(llama / CONVERTER[0], convert)
    for name in CONVERTER[1:]:
        shutil.copytree(llama / name, convert / name)
    shutil.copy2(llama / "LICENSE", folder / "LICENSE")


def _version(llama: Path, compiler: str, seconds: float) -> dict[str, Any]:
    text = (llama / "CMakeLists.txt").read_text("utf-8")
    parts = [re.search(rf"LLAMA_VERSION_{part} (\d+)", text) for part in ("MAJOR", "MINOR", "PATCH")]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    return {
        "llama.cpp": ".".join(part[1] for part in parts if part) or None,
        "commit": COMMIT,
        "package": PACKAGE,
        "sha256": SHA256,
        "flags": list(FLAGS),
        "targets": list(TARGETS),
        "compiler": version.partition("\n")[0],
        "seconds": round(seconds, 1),
    }


def _run(
    command: Sequence[str],
    failure: str,
    hint: str | None = None,
    watch: Callable[[str], None] = lambda line: None,
) -> None:
    """Run a command. Copy its output to standard output, and pass each line to `watch`."""
    last: list[str] = []
    os.write(1, f"$ {' '.join(command)}\n".encode())
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for raw in process.stdout:
            os.write(1, raw)
            line = raw.decode("utf-8", "replace").strip()
            watch(line)
            if line:
                last = [*last, line][-200:]
    if process.returncode:
        errors = [line for line in last if _CAUSE.search(line)]
        cause = (errors or last or ["no output"])[0 if errors else -1]
        raise SetupError(f"{failure}: {cause[:500]}", hint=hint)
