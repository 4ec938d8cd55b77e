"""The first code that runs on a host. It is passed to the host's Python on a command line, receives edgehone's source,
finds or makes a Python that can run it, and replaces itself by the agent.

    first line in    {"digest", "home", "requirements", "source": size of a .tar.gz of packages, "packages": names}
    lines out        {"edgehone": "source"} requests the source; {"edgehone": "error", "message", "hint"} ends it

It runs where edgehone is not installed and therefore uses the standard library only. It creates, under EDGEHONE_HOME,

    agent/DIGEST/            the source with that digest
    agent/python-VERSION/    a venv with numpy, psutil and uv, if the host's own Python does not have them
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_CHECK = "import numpy, psutil, uv; uv.find_uv_bin()"


def main() -> None:
    """Prepare the source and the Python, then become the agent, in the same process and with the same pipes."""
    try:
        start = json.loads(_read_line())
        if start["home"]:
            os.environ["EDGEHONE_HOME"] = start["home"]
        home = os.environ.get("EDGEHONE_HOME") or os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/edgehone"
        folder = Path(os.path.expandvars(home)).expanduser().absolute() / "agent"
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / start["digest"]
        if not source.exists():
            _send({"edgehone": "source"})
            archive = _read(start["source"])
            if hashlib.sha256(archive).hexdigest()[:16] != start["digest"]:
                _fail("edgehone's source was not received as it was sent", "run the same command again")
            _unpack(archive, source)
        python = _find_python(folder, start["requirements"])
    except OSError as error:
        _fail(
            f"{error.filename or 'the host'}: {error.strerror or error}",
            "name another folder: ssh://HOST/FOLDER",
        )
    agent = {
        "packages": {name: str(source / name) for name in start["packages"]},
        "call": "edgehone.execution.remote.serve:main",
        "args": [],
    }
    bootstrap = str(source / "edgehone" / "execution" / "bootstrap.py")
    os.execv(python, [python, "-I", "-u", bootstrap, json.dumps(agent)])


def _unpack(archive: bytes, source: Path) -> None:
    """Unpack an archive of plain files into a folder that appears by one rename. Links and devices are refused."""
    partial = Path(tempfile.mkdtemp(prefix=source.name, dir=source.parent))
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            members = files.getmembers()
            for member in members:
                path = Path(member.name)
                if not member.isfile() or path.is_absolute() or ".." in path.parts:
                    _fail(f"edgehone's source contains {member.name!r}", "install edgehone again")
            if hasattr(tarfile, "data_filter"):
                files.extractall(partial, members, filter="data")
            else:  # Python before 3.11.4
                files.extractall(partial, members)
        partial.rename(source)
    except OSError:
        if not source.exists():  # otherwise another connection was faster
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _find_python(folder: Path, requirements: list[str]) -> str:
    """Return this Python if it has what the agent needs, otherwise that of a venv, which is made once."""
    if _has_requirements(sys.executable):
        return sys.executable
    venv = folder / "python-{}.{}".format(*sys.version_info)
    python = str(venv / "bin" / "python")
    if venv.exists() and _has_requirements(python):
        return python
    shutil.rmtree(venv, ignore_errors=True)
    steps = {
        "make a venv": [sys.executable, "-P", "-m", "venv", str(venv)],
        "install " + ", ".join(requirements): [
            python,
            "-P",
            "-m",
            "pip",
            "install",
            "--quiet",
            *requirements,
        ],
    }
    for what, command in steps.items():
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            shutil.rmtree(venv, ignore_errors=True)
            lines = [line for line in done.stdout.splitlines() if line.strip()] or ["no output"]
            _fail(
                f"its Python {sys.version.split()[0]} cannot {what}: {lines[-1]}",
                "install numpy, psutil and uv for that Python, or what venv and pip need (Debian: python3-venv)",
            )
    return python


def _has_requirements(python: str) -> bool:
    nothing = subprocess.DEVNULL
    command = [python, "-I", "-c", _CHECK]
    done = subprocess.run(command, check=False, stdin=nothing, stdout=nothing, stderr=nothing)
    return done.returncode == 0


def _read_line() -> bytes:
    # One byte at a time, because what follows the line is for the agent that this process becomes.
    line = b""
    while not line.endswith(b"\n"):
        line += _read(1)
    return line


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            sys.exit(1)
        data += part
    return data


def _send(message: dict[str, str]) -> None:
    print(json.dumps(message), flush=True)  # noqa: T201


def _fail(message: str, hint: str) -> None:
    _send({"edgehone": "error", "message": message, "hint": hint})
    sys.exit(1)


if __name__ == "__main__":
    main()
