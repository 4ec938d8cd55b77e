"""The first file that a child runs, as a script: it makes edgehone importable where it is not installed.

    python -I bootstrap.py '{"packages": {"edgehone": "/…/edgehone"}, "call": "module:function", "args": []}'

An environment of a backend holds its framework and nothing of edgehone's. Putting the folder that edgehone is
installed in on the path would bring all its neighbours along, so each package is loaded by its own place.
Runs before anything of edgehone can be imported: the standard library alone.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import signal
import sys
import threading
from pathlib import Path


def load_package(name: str, path: Path) -> None:
    """Make the package in folder `path` (or the module in file `path`) importable as `name`.

    Raises ImportError if there is none.
    """
    folder = path.is_dir()
    spec = importlib.util.spec_from_file_location(
        name,
        path / "__init__.py" if folder else path,
        submodule_search_locations=[str(path)] if folder else None,
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
    """From now on end this process and all it started when standard input closes: the parent holds its end."""

    def wait_for_end_of_file() -> None:
        while os.read(0, 4096):
            pass
        # By hand, in a terminal, the session is the user's shell.
        if os.getsid(0) == os.getpid():
            end_session(os.getpid())
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait_for_end_of_file, daemon=True, name="parent-watch").start()


def end_session(leader: int) -> None:
    """Kill every process of the session that `leader`, a child started in a new one, began, but itself.

    Ninja gives each compiler a process group of its own, so ending the leader's group would leave them behind.
    Where the system has no /proc, nothing is done.
    """
    # Again until none is left: a builder that saw its compiler die may have started the next one meanwhile.
    while others := _others(leader):
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _others(leader: int) -> list[int]:
    """The living processes of a session, without its leader."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):  # it has ended meanwhile
            # After the name, which may hold anything in its parentheses: state, parent, group, session.
            state, _, _, session = (
                (place / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:4]
            )
            if int(session) == leader and int(place.name) != leader and state not in "ZX":
                found.append(int(place.name))
    return found


def main(start: str) -> None:
    """Load the packages and make the call that the JSON text `start` describes."""
    order = json.loads(start)
    for name, path in order["packages"].items():
        load_package(name, Path(path))
    module, _, function = order["call"].partition(":")
    getattr(importlib.import_module(module), function)(*order["args"])


if __name__ == "__main__":
    main(sys.argv[1])
