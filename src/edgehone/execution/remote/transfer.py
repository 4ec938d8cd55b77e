"""This machine's side of a job that runs on another machine: send missing inputs, fetch the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from edgehone.core.errors import JobError, SetupError
from edgehone.execution import store
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Input, Job, Progress
from edgehone.execution.remote.agent import CHUNK, inside, list_contents


class Request(Protocol):
    """Send a request to a remote machine (`agent.handle`) and return the value and the bytes of its reply."""

    def __call__(
        self, method: str, params: Mapping[str, Any], data: bytes = b"", on_progress: Progress = ...
    ) -> tuple[Any, bytes]:
        """Raises SetupError if the machine reports an error."""
        ...


@dataclass(frozen=True)
class RemoteEnv(Env):
    """An environment on another machine; its paths are valid there. `module` is the module of its backend."""

    module: str = ""


def ensure_environment(
    request: Request, name: str, module: str, on_progress: Callable[[str], None]
) -> RemoteEnv:
    """Return the environment of a backend on a remote machine, which installs it if it is missing.

    Raises SetupError if that fails.
    """
    reply, _ = request(
        "ensure_environment",
        {"name": name, "module": module},
        on_progress=lambda fraction, doing: on_progress(doing),
    )
    return remote_env(reply, module)


def remote_env(reply: Mapping[str, Any], module: str) -> RemoteEnv:
    """Return the environment that an agent's reply to `ensure_environment` describes."""
    toolchain = Path(reply["toolchain"]) if reply["toolchain"] else None
    return RemoteEnv(
        reply["name"], Path(reply["python"]), toolchain, reply["digest"], reply["versions"], module
    )


def job_message(job: Job) -> dict[str, Any]:
    """Return a job as the parameters of `run_job`. Inputs are given by identity and file name."""
    assert isinstance(job.env, RemoteEnv)
    return {
        "call": job.call,
        "env": {"name": job.env.name, "module": job.env.module, "digest": job.env.digest},
        "args": dict(job.args),
        "inputs": {name: [one.identity, one.path.name] for name, one in job.inputs.items()},
        "threads": job.threads,
        "exclusive": job.exclusive,
        "backend": job.backend,
        "also": dict(job.also),
        "limits": asdict(job.limits),
        "watch": f"{job.watch.__module__}:{getattr(job.watch, '__qualname__', '')}",
    }


def send_missing(
    request: Request, job: Job, missing: Collection[str], sent: set[str], on_progress: Progress
) -> None:
    """Send those inputs of a job whose identities are `missing` on a machine, and add them to `sent`.

    Raises SetupError if one was sent to the machine before: it would be sent again for ever.
    """
    if lost := sorted(sent & set(missing)):
        name = next(name for name, one in job.inputs.items() if one.identity == lost[0])
        raise SetupError(
            f"the input {name!r} of {job.call} was sent completely, and the other machine does not find it",
            hint="delete store/inputs in the EDGEHONE_HOME of that machine, then run the same command again",
        )
    wanted = [one for one in job.inputs.values() if one.identity in missing]
    for one in {(one.identity, one.path.name): one for one in wanted}.values():
        send_input(request, one, on_progress)
    sent.update(missing)


def send_input(request: Request, source: Input, on_progress: Progress) -> None:
    """Send an input; the targets of links are sent in their place.

    Raises SetupError if there is no room for it, or if what arrives has not the digest of what was sent.
    """
    path = source.path
    if path.is_dir():
        contents = [(f"{path.name}/{name}", size, at) for name, size, at in list_contents(path, source.files)]
        contents.insert(0, (path.name, None, path))
    else:
        contents = list_contents(path.parent, source.files or (path.name,))
    total, sent = sum(size or 0 for _, size, _ in contents), 0
    digests: dict[str, str] = {}
    request("check_space", {"bytes": total})
    for name, size, at in contents:
        target = {"identity": source.identity, "path": name}
        if size is None:
            request("write_chunk", {**target, "offset": None})
            continue
        digest = hashlib.sha256()
        with at.open("rb") as file:
            offset = 0
            while (data := file.read(CHUNK)) or not offset:
                request("write_chunk", {**target, "offset": offset}, data)
                digest.update(data)
                if not data:  # an empty file
                    break
                offset += len(data)
                sent += len(data)
                on_progress(sent / total, f"sending {path.name}: {sent / 1e6:.0f} of {total / 1e6:.0f} MB")
        digests[name] = digest.hexdigest()
    names = [name for name, _, _ in contents]
    request("finish_input", {"identity": source.identity, "names": names, "digests": digests})


def fetch_result(
    request: Request, job: Job, reply: tuple[Mapping[str, Any], bytes], folder: Path, on_progress: Progress
) -> None:
    """Fill the local work folder of a job from an agent's reply to `run_job`.

    Raises JobError, with a copy of the log, if the job failed there, and SetupError if a file does not arrive as the
    machine has it.
    """
    value, log = reply
    if failure := value.get("failed"):
        (folder / "log.txt").write_bytes(log)
        (folder / "job.json").write_text(json.dumps(job_message(job), indent=1), "utf-8")
        raise JobError(failure["message"], log=store.store_failure(job.key, folder), hint=failure["hint"])
    on_progress(0.99, "fetching the result")
    for name, size, expected in request("list_files", {"key": value["key"]})[0]:
        path = inside(folder, name)
        if size is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("wb") as file:
            while file.tell() < size:
                chunk = {"key": value["key"], "path": name, "offset": file.tell()}
                _, data = request("read_chunk", chunk)
                if not data:
                    raise SetupError(
                        f"the file {name} of a finished job ends after {file.tell()} of {size} bytes",
                        hint="run the same command again",
                    )
                file.write(data)
                digest.update(data)
        if digest.hexdigest() != expected:
            raise SetupError(
                f"the file {name} of a finished job was not received as it was sent",
                hint="run the same command again",
            )
