"""What a host runs first, as text on a command line: it takes edgehone's source and a Python to run it with.

    first line in    {"digest", "home", "requirements", "source": bytes of a .tar.gz of packages, "packages": names}
    lines out        {"edgehone": "source"} asks for the source; {"edgehone": "error", "message", "hint"} is the end

Runs before anything of edgehone is there: the standard library alone. Under EDGEHONE_HOME stand then

    agent/DIGEST/          the source of that digest              agent/python-VERSION/   a venv with numpy and uv,
                                                                  where the host's own Python has not got them
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_HAS_ALL = "import numpy, uv; uv.find_uv_bin()"


def main() -> None:
    """Make ready, then become the agent: same process, same pipes."""
    try:
        order = json.loads(_read_line())
        if order["home"]:
            os.environ["EDGEHONE_HOME"] = order["home"]
        given = os.environ.get("EDGEHONE_HOME") or os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/edgehone"
        place = Path(os.path.expandvars(given)).expanduser().absolute() / "agent"
        place.mkdir(parents=True, exist_ok=True)
        source = place / order["digest"]
        if not source.exists():
            _say({"edgehone": "source"})
            _unpack(_read(order["source"]), source)
        python = _python(place, order["requirements"])
    except OSError as error:
        _end(
            f"{error.filename or 'the host'}: {error.strerror or error}",
            "name another folder: ssh://HOST/FOLDER",
        )
    start = {
        "packages": {name: str(source / name) for name in order["packages"]},
        "call": "edgehone.execution.remote.serve:main",
        "args": [],
    }
    bootstrap = str(source / "edgehone" / "execution" / "bootstrap.py")
    os.execv(python, [python, "-I", "-u", bootstrap, json.dumps(start)])


def _unpack(archive: bytes, source: Path) -> None:
    partial = Path(tempfile.mkdtemp(prefix=source.name, dir=source.parent))
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(partial)
        partial.rename(source)
    except OSError:
        if not source.exists():  # else another connection was faster
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _python(place: Path, requirements: list[str]) -> str:
    """This Python if it has what the agent needs, else that of a venv that is made once."""
    if _has_all(sys.executable):
        return sys.executable
    venv = place / "python-{}.{}".format(*sys.version_info)
    python = str(venv / "bin" / "python")
    if venv.exists() and _has_all(python):
        return python
    shutil.rmtree(venv, ignore_errors=True)
    steps = {
        "make a venv": [sys.executable, "-m", "venv", str(venv)],
        "install " + ", ".join(requirements): [python, "-m", "pip", "install", "--quiet", *requirements],
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
            words = [line for line in done.stdout.splitlines() if line.strip()] or ["it said nothing"]
            _end(
                f"its Python {sys.version.split()[0]} cannot {what}: {words[-1]}",
                "install numpy and uv for that Python, or what venv and pip lack (Debian: python3-venv)",
            )
    return python


def _has_all(python: str) -> bool:
    nothing = subprocess.DEVNULL
    ask = [python, "-I", "-c", _HAS_ALL]
    done = subprocess.run(ask, check=False, stdin=nothing, stdout=nothing, stderr=nothing)
    return done.returncode == 0


def _read_line() -> bytes:
    # A byte at a time: what follows belongs to whoever this process becomes.
    line = b""
    while not line.endswith(b"\n"):
        line += _read(1)
    return line


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        some = os.read(0, size - len(data))
        if not some:
            sys.exit(1)
        data += some
    return data


def _say(what: dict[str, str]) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201


def _end(message: str, hint: str) -> None:
    _say({"edgehone": "error", "message": message, "hint": hint})
    sys.exit(1)


if __name__ == "__main__":
    main()
