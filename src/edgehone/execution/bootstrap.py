"""The first file that a worker process runs, as a script. It makes edgehone importable where it is not installed.

    python -I bootstrap.py '{"packages": {"edgehone": "/…/edgehone"}, "call": "module:function", "args": []}'

The environment of a backend contains its framework but not edgehone. If the folder that edgehone is installed in were
put on the import path, everything installed beside it could be imported as well, so each package is loaded from its own
path. This file runs before edgehone can be imported and therefore uses the standard library only.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def load_package(name: str, path: Path) -> None:
    """Make the package in the folder `path` (or the module in the file `path`) importable as `name`.

    Raises ImportError if there is none.
    """
    is_package = path.is_dir()
    spec = importlib.util.spec_from_file_location(
        name,
        path / "__init__.py" if is_package else path,
        submodule_search_locations=[str(path)] if is_package else None,
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is neither a package nor a module", name=name, path=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except FileNotFoundError as error:
        del sys.modules[name]
        raise ImportError(f"there is no {name} at {path}", name=name, path=str(path)) from error


def end_with_parent() -> None:
    """From now on, end this process and all that it started when standard input closes.

    The parent holds the other end of that pipe, so it closes when the parent ends, for whatever reason.
    """

    def wait_for_end_of_file() -> None:
        while os.read(0, 4096):
            pass
        # A process that a user started in a terminal does not lead the session: the session is the user's shell.
        if os.getsid(0) == os.getpid():
            end_session(os.getpid())
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait_for_end_of_file, daemon=True, name="parent-watch").start()


def end_session(leader: int) -> None:
    """Kill every process of the session that `leader`, a child started in a new session, leads, except the leader.

    Ending the leader's process group is not enough: Ninja starts each compiler in a group of its own.
    """
    # Repeat until none is left: a build tool may have started the next compiler when it noticed the death of the last.
    while members := [pid for pid in _living_members(leader) if pid != leader]:
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _living_members(session: int) -> list[int]:
    """Return the ids of the processes of a session that are not zombies."""
    if not (_PROC / "self" / "stat").exists():
        return [pid for pid, state in _states_from_ps() if _is_alive(state) and _session_of(pid) == session]
    # getsid() costs a hundredth of reading a file of /proc, and almost no process belongs to the session.
    pids = [int(name) for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208 - bare names
    return [pid for pid in pids if _session_of(pid) == session and _is_alive(_state_from_proc(pid))]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:  # it has ended meanwhile, or belongs to another user
        return None


def _is_alive(state: str) -> bool:
    return state[:1] not in ("Z", "X")


def _state_from_proc(pid: int) -> str:
    """Return the state of a process, one letter; X, as of a dead one, if it has ended meanwhile."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return "X"
    # The name stands in parentheses and may contain anything; the state follows it.
    return stat.rpartition(")")[2].split()[0]


def _states_from_ps() -> Iterator[tuple[int, str]]:
    """Yield the id and the state of every process, from ps, on systems without /proc."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,stat="],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,  # or it would list itself as a member of the session
    )
    for line in listing.stdout.splitlines():
        pid, state = line.split()[:2]
        yield int(pid), state


def main(start: str) -> None:
    """Load the packages and make the call that the JSON text `start` describes."""
    request = json.loads(start)
    for name, path in request["packages"].items():
        load_package(name, Path(path))
    module, _, function = request["call"].partition(":")
    getattr(importlib.import_module(module), function)(*request["args"])


if __name__ == "__main__":
    main(sys.argv[1])
