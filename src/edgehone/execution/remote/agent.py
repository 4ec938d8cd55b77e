"""What a far machine does when it is asked: plain functions by name, the same over SSH and in a Dask worker.

It has an EDGEHONE_HOME of its own. Beside the store of every machine stands

    store/inputs/DIGEST/NAME/…     what it was sent, by the digest of its identity; appears by one rename
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from edgehone.core.errors import EdgehoneError, JobError, SetupError
from edgehone.device.detect import detect
from edgehone.execution import store
from edgehone.execution.environments import environment
from edgehone.execution.environments.environment import Env
from edgehone.execution.home import home
from edgehone.execution.job import FULL, Input, Job, Limits, Progress, run
from edgehone.execution.source_digest import whole_digest
from edgehone.execution.worker_process import call as function_of

# Bytes of a file that travel at once: enough to fill a slow line, little enough to hold anywhere.
CHUNK = 4 << 20
_KEY = re.compile(r"[0-9a-f]{32}")

_ENVIRONMENTS: dict[str, Env] = {}


def answer(name: str, given: Mapping[str, Any], data: bytes, tell: Progress) -> tuple[dict[str, Any], bytes]:
    """The reply to one question, and bytes with it: `{"ok": value}`, or `{"error": {kind, message, hint}}`."""
    try:
        value, found = _ANSWERS[name](given, data, tell)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _error("SetupError", f"{error.filename or name}: {error.strerror}", None), b""
        return _error("SetupError", f"no space left on the disk of {home()}", None), b""
    except EdgehoneError as error:
        return _error(type(error).__name__, error.message, error.hint), b""
    return {"ok": value}, found


def _error(kind: str, message: str, hint: str | None) -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message, "hint": hint}}


def _facts(given: Mapping[str, Any], data: bytes, tell: Progress) -> tuple[Any, bytes]:
    """The machine, and where it keeps things."""
    return {"device": detect().to_json(), "home": str(home()), "source": whole_digest("edgehone")}, b""


def _ask(given: Mapping[str, Any], data: bytes, tell: Progress) -> tuple[Any, bytes]:
    """What a function without arguments (`module:function`) returns here."""
    return function_of(given["call"])(), b""


def _ensure(given: Mapping[str, Any], data: bytes, tell: Progress) -> tuple[Any, bytes]:
    """The environment of a backend's module, made if it is not there; its Python is this machine's."""
    env = _environment(given["name"], given["module"], lambda what: tell(0.0, what))
    facts = {
        "name": env.name,
        "python": str(env.python),
        "digest": env.digest,
        "versions": dict(env.versions),
    }
    return {**facts, "toolchain": str(env.toolchain) if env.toolchain else None}, b""


def _environment(name: str, module: str, tell: Callable[[str], None]) -> Env:
    if module not in _ENVIRONMENTS:
        needs = importlib.import_module(module).NEEDS
        _ENVIRONMENTS[module] = environment.ensure(name, needs, tell)
    return _ENVIRONMENTS[module]


def _begin(given: Mapping[str, Any], data: bytes, tell: Progress) -> tuple[Any, bytes]:
    """Whether there is room for an input of so many bytes; SetupError if there is not."""
    free = shutil.disk_usage(home()).free
    if free < given["bytes"] + FULL:
        raise SetupError(
            f"{given['bytes'] / 1e6:.0f} MB are to be sent, and {free / 1e6:.0f} MB are left on the disk of {home()}"
        )
    return None, b""


def _write(given: Mapping[str, Any], data: bytes, tell: Progress) -> tuple[Any, bytes]:
    """A piece of a file of an input, at its offset; without one, an empty folder."""
    path = inside(_partial(given["identity"]), given["path"])
    if given["offset"] is None:
        path.mkdir(parents=True, exist_ok=True)
        return None, b""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        # At its place, not at the end: what a cut connection left is written over, and two senders do no harm.
        os.lseek(descriptor, given["offset"], os.SEEK_SET)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)
    return None, b""


def _finish(given: Mapping[str, Any], data: bytes, tell: Progress) -> tuple[Any, bytes]:
    """Put an input in its place, if each file is as long as it should be."""
    partial, final = _partial(given["identity"]), _place(given["identity"])
    for path, size in given["sizes"].items():
        file = inside(partial, path)
        if not final.exists() and (not file.is_file() or file.stat().st_size != size):
            raise SetupError(f"{path} did not arrive whole", hint="run the same command again")
    if final.exists():  # another sender was faster
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.rename(final)
    return None, b""


def _run(given: Mapping[str, Any], data: bytes, tell: Progress) -> tuple[Any, bytes]:
    """Run a job, or find it done: its key here. Before that, the inputs that are lacking; after a failure, why."""
    inputs = {name: _input(identity, asked) for name, (identity, asked) in given["inputs"].items()}
    lacking = [given["inputs"][name][0] for name, one in inputs.items() if one is None]
    if lacking:
        return {"lacking": lacking}, b""
    env = _environment(given["env"]["name"], given["env"]["module"], lambda what: tell(0.0, what))
    if env.digest != given["env"]["digest"]:
        raise SetupError(f"the environment of {env.name} is another one than it was", hint="run it again")
    job = Job(
        given["call"],
        env,
        given["args"],
        {name: one for name, one in inputs.items() if one is not None},
        **{name: given[name] for name in ("threads", "exclusive", "backend", "also", "online")},
        limits=Limits(**given["limits"]),
        watch=function_of(given["watch"]),
    )
    try:
        return {"key": run(job, tell).key}, b""
    except JobError as error:
        log = error.log.read_bytes()[-CHUNK:] if error.log else b""
        return {"failed": {"message": error.message, "hint": error.hint}}, log


def _list(given: Mapping[str, Any], data: bytes, tell: Progress) -> tuple[Any, bytes]:
    """The files of a finished job with their sizes, links followed; None for the size of a folder."""
    return [[path, size] for path, size, _ in contents(_job(given["key"]))], b""


def _read(given: Mapping[str, Any], data: bytes, tell: Progress) -> tuple[Any, bytes]:
    """A piece of a file of a finished job."""
    with inside(_job(given["key"]), given["path"]).open("rb") as file:
        file.seek(given["offset"])
        return None, file.read(CHUNK)


_ANSWERS: dict[str, Callable[[Mapping[str, Any], bytes, Progress], tuple[Any, bytes]]] = {
    "facts": _facts,
    "ask": _ask,
    "ensure": _ensure,
    "begin": _begin,
    "write": _write,
    "finish": _finish,
    "run": _run,
    "list": _list,
    "read": _read,
}


def contents(folder: Path, only: Sequence[str] = ()) -> list[tuple[str, int | None, Path]]:
    """Everything in a folder, or the files named: relative path, bytes (None for a folder), where it lies."""
    found: list[tuple[str, int | None, Path]] = []
    for path in [folder / name for name in only] if only else sorted(folder.rglob("*")):
        size = None if path.is_dir() else path.stat().st_size
        found.append((path.relative_to(folder).as_posix(), size, path))
    return found


def inside(folder: Path, path: str) -> Path:
    """A path below a folder, as another machine names it; SetupError for one that leads out of it."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise SetupError(f"another machine names the file {path!r}, which leads out of {folder}")
    return folder.joinpath(*parts)


def _input(identity: str, name: str) -> Input | None:
    """An input that was sent here, or that a job made here; None if it is lacking."""
    sent = _place(identity) / name
    if sent.exists():
        return Input(sent, identity)
    made, _, part = identity.partition("/")
    done = store.find(made, made) if _KEY.fullmatch(made) else None
    return Input(done.out / part, identity) if done else None


def _job(key: str) -> Path:
    return inside(home() / "store" / "jobs", key)


def _place(identity: str) -> Path:
    return home() / "store" / "inputs" / hashlib.sha256(identity.encode()).hexdigest()[:32]


def _partial(identity: str) -> Path:
    place = _place(identity)
    return place.with_name(place.name + ".partial")
