"""Our side of a job that runs on another machine: send what it lacks, run it, fetch what it made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from edgehone.core.errors import JobError, SetupError
from edgehone.execution import store
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Input, Job, Progress
from edgehone.execution.remote.agent import CHUNK, contents, inside


class Ask(Protocol):
    """Ask an agent (see `agent.answer`): its answer and the bytes with it."""

    def __call__(
        self, what: str, given: Mapping[str, Any], data: bytes = b"", tell: Progress = ...
    ) -> tuple[Any, bytes]:
        """Raises SetupError if it cannot do it."""
        ...


@dataclass(frozen=True)
class FarEnv(Env):
    """An environment on another machine, where its Python and toolchain lie; `module` is its backend's."""

    module: str = ""


def ensure(ask: Ask, name: str, module: str, tell: Callable[[str], None]) -> FarEnv:
    """The environment of a backend there, made by that machine if it is missing. Raises SetupError if it can't."""
    told, _ = ask("ensure", {"name": name, "module": module}, tell=lambda fraction, what: tell(what))
    return far_env(told, module)


def far_env(told: Mapping[str, Any], module: str) -> FarEnv:
    """An agent's answer to `ensure`."""
    toolchain = Path(told["toolchain"]) if told["toolchain"] else None
    return FarEnv(told["name"], Path(told["python"]), toolchain, told["digest"], told["versions"], module)


def order(job: Job) -> dict[str, Any]:
    """A job as an agent takes it: inputs by their identity and the name of their place."""
    assert isinstance(job.env, FarEnv)
    return {
        "call": job.call,
        "env": {"name": job.env.name, "module": job.env.module, "digest": job.env.digest},
        "args": dict(job.args),
        "inputs": {name: [given.identity, given.path.name] for name, given in job.inputs.items()},
        "threads": job.threads,
        "exclusive": job.exclusive,
        "backend": job.backend,
        "also": dict(job.also),
        "online": job.online,
        "limits": asdict(job.limits),
        "watch": f"{job.watch.__module__}:{getattr(job.watch, '__qualname__', '')}",
    }


def send(ask: Ask, given: Input, tell: Progress) -> None:
    """Send an input, links followed. Raises SetupError if there is no room for it."""
    path = given.path
    if path.is_dir():
        parts = [(f"{path.name}/{name}", size, at) for name, size, at in contents(path, given.files)]
        parts.insert(0, (path.name, None, path))
    else:
        parts = list(contents(path.parent, given.files or (path.name,)))
    sizes = {name: size for name, size, _ in parts if size is not None}
    total, sent = sum(sizes.values()), 0
    ask("begin", {"bytes": total})
    for name, size, at in parts:
        where = {"identity": given.identity, "path": name}
        if not size:
            ask("write", {**where, "offset": None if size is None else 0})
            continue
        with at.open("rb") as file:
            offset = 0
            while data := file.read(CHUNK):
                ask("write", {**where, "offset": offset}, data)
                offset += len(data)
                sent += len(data)
                tell(sent / total, f"sending {path.name}: {sent / 1e6:.0f} of {total / 1e6:.0f} MB")
    ask("finish", {"identity": given.identity, "sizes": sizes})


def settle(ask: Ask, job: Job, answer: tuple[Mapping[str, Any], bytes], folder: Path, tell: Progress) -> None:
    """Fill our work folder from an agent's answer to `run`. Raises JobError, with the log, if the job failed there."""
    told, log = answer
    if failed := told.get("failed"):
        (folder / "log.txt").write_bytes(log)
        (folder / "job.json").write_text(json.dumps(order(job), indent=1), "utf-8")
        raise JobError(failed["message"], log=store.keep_failure(job.key, folder), hint=failed["hint"])
    tell(0.99, "fetching what it made")
    for name, size in ask("list", {"key": told["key"]})[0]:
        path = inside(folder, name)
        if size is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            while file.tell() < size:
                _, data = ask("read", {"key": told["key"], "path": name, "offset": file.tell()})
                if not data:
                    raise SetupError(f"{name} of a job is shorter than it was said to be")
                file.write(data)
