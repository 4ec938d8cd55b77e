"""A job: one function call in the environment of a backend, and the key under which its result is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgehone.execution import store
from edgehone.execution.environments.environment import Env
from edgehone.execution.source_digest import source_digest
from edgehone.execution.store import JobResult
from edgehone.execution.watch import Watch

# Callback for the progress of a job: the fraction done, 0 to 1, and what it is doing.
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Input:
    """A path that a job reads, and what identifies its content: a digest, or the key of the job that produced it.

    `files` names the files that count, relative to the folder that `path` is or lies in; if empty, all of `path` does.
    """

    path: Path
    identity: str
    files: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: JobResult, part: str = "") -> Input:
        """Return the output folder of a finished job, or a part of it."""
        return cls(result.out / part, f"{result.identity}/{part}")


@dataclass(frozen=True)
class Limits:
    """Limits of a job: wall seconds, and unreclaimable bytes of its process and all descendants (None: no limit).

    `silent` is the longest time in seconds between two progress reports, for jobs that report in small steps.
    """

    seconds: float = 4 * 3600
    bytes: int | None = None
    silent: float | None = None


@dataclass(frozen=True)
class Job:
    """A function call, `module:function`, to make in an environment.

    `exclusive` jobs are measurements: no other job runs on the machine meanwhile. `backend` is the module whose session
    the job opens, if any (its source is part of the key). `also` is whatever else determines the result, such as the
    device of a measurement. `watch` makes the object that samples the running child; what its `result()` returns is
    stored in watch.json. `links` says that the result contains links to its inputs, so that it is valid only while
    they stay where they are.
    """

    call: str
    env: Env
    args: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    threads: int = 1
    exclusive: bool = False
    backend: str | None = None
    also: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()
    watch: Callable[[], Watch] = Watch
    links: bool = False

    @property
    def key(self) -> str:
        """The key in the store: the identity and, if the result links to its inputs, their paths."""
        if not self.links:
            return self.identity
        paths = {name: str(one.path) for name, one in self.inputs.items()}
        return store.key_of({"identity": self.identity, "places": paths})

    @property
    def identity(self) -> str:
        """A digest of all that determines the result's content. Jobs that read the result have it in their keys."""
        module = self.call.partition(":")[0]
        source = source_digest(*sorted({module, *([self.backend] if self.backend else [])}))
        return store.key_of(
            {
                "call": self.call,
                "args": dict(self.args),
                "inputs": {name: one.identity for name, one in self.inputs.items()},
                "environment": self.env.digest,
                "threads": self.threads,
                "source": source,
                "also": dict(self.also),
            }
        )
