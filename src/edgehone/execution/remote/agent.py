"""The requests that a remote machine serves, as functions by name. They are the same over SSH and in a Dask worker.

The machine has an EDGEHONE_HOME of its own, with a store as on every machine and, beside the jobs,

    store/inputs/DIGEST/NAME/…            an input that was sent, by the digest of its identity; appears by one rename
    store/inputs/DIGEST.renamed/NAME/…    the same content under another name, as hard links
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from edgehone.core.errors import EdgehoneError, JobError, SetupError
from edgehone.device.detect import detect
from edgehone.execution import store
from edgehone.execution.child_process import FULL
from edgehone.execution.environments import environment
from edgehone.execution.environments.environment import Env
from edgehone.execution.home import home
from edgehone.execution.job import Input, Job, Limits, Progress
from edgehone.execution.run import run
from edgehone.execution.source_digest import whole_digest
from edgehone.execution.worker_process import load_function
from edgehone.model.digest import digest_file

# Bytes of a file in one message: large enough to use a fast line, small enough to hold in memory anywhere.
CHUNK = 4 << 20
_KEY = re.compile(r"[0-9a-f]{32}")

_ENVIRONMENTS: dict[str, Env] = {}

# A reply: a value that JSON can represent, and bytes that belong to it.
Reply = tuple[Any, bytes]


def handle(
    method: str, params: Mapping[str, Any], data: bytes, on_progress: Progress
) -> tuple[dict[str, Any], bytes]:
    """Serve one request. Return `{"ok": value}` or `{"error": {type, message, hint}}`, and the bytes with it."""
    try:
        value, reply_data = _METHODS[method](params, data, on_progress)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _error("SetupError", f"{error.filename or method}: {error.strerror}", None), b""
        return _error("SetupError", f"no space left on the disk of {home()}", None), b""
    except EdgehoneError as error:
        return _error(type(error).__name__, error.message, error.hint), b""
    return {"ok": value}, reply_data


def _error(kind: str, message: str, hint: str | None) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "hint": hint}}


def _describe_machine(params: Mapping[str, Any], data: bytes, on_progress: Progress) -> Reply:
    """Return the device, the EDGEHONE_HOME and a digest of edgehone's source."""
    return {"device": detect().to_json(), "home": str(home()), "source": whole_digest("edgehone")}, b""


def _call_function(params: Mapping[str, Any], data: bytes, on_progress: Progress) -> Reply:
    """Call a function without arguments, `module:function`."""
    return load_function(params["function"])(), b""


def _ensure_environment(params: Mapping[str, Any], data: bytes, on_progress: Progress) -> Reply:
    """Return the environment of a backend's module, installed first if it is missing; its Python is on this machine."""
    env = _environment(params["name"], params["module"], lambda doing: on_progress(0.0, doing))
    description = {
        "name": env.name,
        "python": str(env.python),
        "toolchain": str(env.toolchain) if env.toolchain else None,
        "digest": env.digest,
        "versions": dict(env.versions),
    }
    return description, b""


def _environment(name: str, module: str, on_progress: Callable[[str], None]) -> Env:
    if module not in _ENVIRONMENTS:
        needs = importlib.import_module(module).NEEDS
        _ENVIRONMENTS[module] = environment.ensure(name, needs, on_progress)
    return _ENVIRONMENTS[module]


def _check_space(params: Mapping[str, Any], data: bytes, on_progress: Progress) -> Reply:
    """Raise SetupError if the disk has no room for an input of that many bytes."""
    free = shutil.disk_usage(home()).free
    if free < params["bytes"] + FULL:
        raise SetupError(
            f"{params['bytes'] / 1e6:.0f} MB have to be sent, but only {free / 1e6:.0f} MB are free on the disk "
            f"of {home()}"
        )
    return None, b""


def _write_chunk(params: Mapping[str, Any], data: bytes, on_progress: Progress) -> Reply:
    """Write a chunk of a file of an input at its offset. Without an offset, create an empty folder."""
    path = inside(_partial_input(params["identity"]), params["path"])
    if params["offset"] is None:
        path.mkdir(parents=True, exist_ok=True)
        return None, b""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        # Written at its offset, not appended: it replaces what an interrupted transfer left, and two senders do no
        # harm.
        os.lseek(descriptor, params["offset"], os.SEEK_SET)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)
    return None, b""


def _finish_input(params: Mapping[str, Any], data: bytes, on_progress: Progress) -> Reply:
    """Make an input available if every file has the digest that the sender computed."""
    partial, final = _partial_input(params["identity"]), _input_folder(params["identity"])
    names = {inside(final, path).relative_to(final).parts[0] for path in params["names"]}
    if all((final / name).exists() for name in names):  # another sender was faster
        shutil.rmtree(partial, ignore_errors=True)
        return None, b""
    for path, digest in params["digests"].items():
        file = inside(partial, path)
        if not file.is_file() or digest_file(file) != digest:
            # What an earlier transfer left may be the cause, so the next one starts afresh.
            shutil.rmtree(partial, ignore_errors=True)
            raise SetupError(f"{path} was not received as it was sent", hint="run the same command again")
    store.flush_to_disk(partial)
    if not final.exists():
        partial.rename(final)
        return None, b""
    for name in names:  # what is there has other names
        if not (final / name).exists():
            (partial / name).rename(final / name)
    shutil.rmtree(partial, ignore_errors=True)
    return None, b""


def _run_job(params: Mapping[str, Any], data: bytes, on_progress: Progress) -> Reply:
    """Run a job, or find its result. Return `{"key"}`, `{"missing": identities of inputs}` or `{"failed"}`.

    The bytes of the reply are the log of a failed job.
    """
    inputs = {name: _find_input(identity, file) for name, (identity, file) in params["inputs"].items()}
    missing = [params["inputs"][name][0] for name, one in inputs.items() if one is None]
    if missing:
        return {"missing": missing}, b""
    env = _environment(params["env"]["name"], params["env"]["module"], lambda doing: on_progress(0.0, doing))
    if env.digest != params["env"]["digest"]:
        raise SetupError(f"the environment of {env.name} has changed during the run", hint="run it again")
    job = Job(
        params["call"],
        env,
        params["args"],
        {name: one for name, one in inputs.items() if one is not None},
        **{name: params[name] for name in ("threads", "exclusive", "backend", "also")},
        limits=Limits(**params["limits"]),
        watch=load_function(params["watch"]),
    )
    try:
        return {"key": run(job, on_progress).key}, b""
    except JobError as error:
        log = error.log.read_bytes()[-CHUNK:] if error.log else b""
        return {"failed": {"message": error.message, "hint": error.hint}}, log


def _list_files(params: Mapping[str, Any], data: bytes, on_progress: Progress) -> Reply:
    """Return path, size and digest of every file of a finished job, links followed; both are None for a folder."""
    contents = list_contents(_job_folder(params["key"]))
    return [[path, size, None if size is None else digest_file(at)] for path, size, at in contents], b""


def _read_chunk(params: Mapping[str, Any], data: bytes, on_progress: Progress) -> Reply:
    """Return a chunk of a file of a finished job."""
    with inside(_job_folder(params["key"]), params["path"]).open("rb") as file:
        file.seek(params["offset"])
        return None, file.read(CHUNK)


_METHODS: dict[str, Callable[[Mapping[str, Any], bytes, Progress], Reply]] = {
    "describe_machine": _describe_machine,
    "call_function": _call_function,
    "ensure_environment": _ensure_environment,
    "check_space": _check_space,
    "write_chunk": _write_chunk,
    "finish_input": _finish_input,
    "run_job": _run_job,
    "list_files": _list_files,
    "read_chunk": _read_chunk,
}


def list_contents(folder: Path, names: Sequence[str] = ()) -> list[tuple[str, int | None, Path]]:
    """Return relative path, bytes (None for a folder) and path of all that is in a folder, or of the named files."""
    contents: list[tuple[str, int | None, Path]] = []
    for path in [folder / name for name in names] if names else sorted(folder.rglob("*")):
        size = None if path.is_dir() else path.stat().st_size
        contents.append((path.relative_to(folder).as_posix(), size, path))
    return contents


def inside(folder: Path, path: str) -> Path:
    """Return the path in a folder that another machine names. Raises SetupError if it leads out of the folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise SetupError(f"another machine names the file {path!r}, which leads out of {folder}")
    return folder.joinpath(*parts)


def _find_input(identity: str, name: str) -> Input | None:
    """Return an input that was sent to this machine or is the result of one of its jobs; None if it is missing."""
    folder = _input_folder(identity)
    renamed = folder.with_name(folder.name + ".renamed")
    for sent in (inside(folder, name), inside(renamed, name)):
        if sent.exists():
            return Input(sent, identity)
    entries = list(folder.iterdir()) if folder.is_dir() else []
    if len(entries) == 1:  # a file or folder whose name is not part of its identity, sent under another name
        return Input(_rename(entries[0], inside(renamed, name)), identity)
    key, _, part = identity.partition("/")
    result = store.find(key, key) if _KEY.fullmatch(key) else None
    return Input(result.out / part, identity) if result and not result.pruned else None


def _rename(source: Path, target: Path) -> Path:
    """Provide a file or folder under another name, as hard links where the file system has them. Return `target`.

    Code that reads an input may depend on its name, so a job gets the name that it has on the machine that sent it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=target.parent) as name:
        partial = Path(name) / target.name
        if source.is_dir():
            shutil.copytree(source, partial, copy_function=_link)
        else:
            _link(str(source), str(partial))
        with suppress(FileExistsError):  # another request was faster
            partial.rename(target)
    return target


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _job_folder(key: str) -> Path:
    return inside(home() / "store" / "jobs", key)


def _input_folder(identity: str) -> Path:
    return home() / "store" / "inputs" / hashlib.sha256(identity.encode()).hexdigest()[:32]


def _partial_input(identity: str) -> Path:
    folder = _input_folder(identity)
    return folder.with_name(folder.name + ".partial")
