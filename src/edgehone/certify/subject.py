"""What is certified: the bundle, its backend's environment, and measurements that several checks share."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from edgehone.backends import registry
from edgehone.bundle.read import Bundle
from edgehone.bundle.schema import evidence_folder
from edgehone.certify.found import Skipped
from edgehone.certify.profile import Profile
from edgehone.core.errors import EdgehoneError
from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate
from edgehone.device.detect import detect
from edgehone.device.facts import Device
from edgehone.execution import store
from edgehone.execution.environments import environment
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Input, Job, Limits
from edgehone.execution.run import run
from edgehone.execution.store import JobResult
from edgehone.execution.threads import threads_of
from edgehone.execution.watch import Watch

T = TypeVar("T")
# Seconds after which a job that opens an artifact once, or renders a template, hangs.
HANGS = 300.0


@dataclass(frozen=True)
class Sources:
    """Files outside the bundle: the original, other text or samples, the calibration text, advisories (OSV).

    `canaries` has texts that the user planted in the calibration text, one a line.
    """

    model: Path | None = None
    evaluation: Path | None = None
    calibration: Path | None = None
    advisories: Path | None = None
    canaries: Path | None = None


@dataclass(frozen=True)
class Subject:
    """A bundle that is certified by a profile. `work` is a folder for files that the checks need meanwhile."""

    bundle: Bundle
    profile: Profile
    sources: Sources
    work: Path
    say: Callable[[str], None]
    _made: dict[Callable[..., Any], Any] = field(default_factory=dict)

    def once(self, make: Callable[[Subject], T]) -> T:
        """Return what `make` returns for this subject, or raise again what it raised; it is called once."""
        if make not in self._made:
            try:
                self._made[make] = make(self)
            except (EdgehoneError, Skipped) as error:
                self._made[make] = error
        found = self._made[make]
        if isinstance(found, EdgehoneError | Skipped):
            raise found
        return cast(T, found)

    def made(self, make: Callable[[Subject], T]) -> T | None:
        """Return what `make` returned for this subject; None if it was not called, or raised."""
        found = self._made.get(make)
        return None if isinstance(found, EdgehoneError | Skipped) else cast("T | None", found)

    @property
    def is_language(self) -> bool:
        """Whether the bundle generates text."""
        return self.bundle.manifest.kind == "language"

    @property
    def backend(self) -> str:
        """The name of the bundle's backend."""
        name: str = self.bundle.manifest.recipe["backend"]
        return name

    @property
    def settings(self) -> Mapping[str, Any]:
        """The runtime settings of the bundle."""
        settings: Mapping[str, Any] = self.bundle.manifest.recipe["settings"]
        return settings

    @cached_property
    def env(self) -> Env:
        """The environment of the bundle's backend, installed if it is missing."""
        return environment.ensure(self.backend, registry.load(self.backend).NEEDS, self.say)

    @cached_property
    def machine(self) -> Device:
        """This machine."""
        return detect()

    @property
    def candidate(self) -> Candidate:
        """The decision's entry of the bundled artifact, with the figures that it states."""
        decision = self.bundle.decision
        key = decision.bundled
        return next(one for one in (*decision.candidates, decision.baseline) if one.key == key)

    @property
    def evidence(self) -> Path:
        """The folder with the raw samples of the bundled artifact."""
        return evidence_folder(self.bundle.path, self.candidate.key)

    @property
    def is_same_device(self) -> bool:
        """Whether the decision's figures were measured on this machine."""
        return self.bundle.decision.device.get("fingerprint") == self.machine.fingerprint

    @cached_property
    def artifact(self) -> Input:
        """The artifact as a job's input, identified by the digests in the manifest."""
        return Input(self.bundle.artifact.resolve(), self._identity("artifact"))

    @property
    def tokenizer(self) -> dict[str, Input]:
        """The folder of the original's tokenizer as a job's input; {} for bundles without it."""
        folder = self.bundle.tokenizer
        return {"tokenizer": Input(folder.resolve(), self._identity("tokenizer"))} if folder else {}

    def _identity(self, part: str) -> str:
        files = self.bundle.manifest.files.items()
        return store.key_of({name: digest for name, digest in files if name.startswith(f"{part}/")})

    def stated(self, name: str) -> Figure:
        """Return a figure that the decision states of the artifact."""
        return self.candidate.figure(name)

    def job(
        self, call: str, args: Mapping[str, Any], inputs: Mapping[str, Input] | None = None, **fields: Any
    ) -> Job:
        """Return a job that opens the artifact in its environment."""
        module = registry.module_name(self.backend)
        return Job(
            call,
            self.env,
            {"backend": module, "settings": dict(self.settings), **args},
            {"artifact": self.artifact, **(inputs or {})},
            threads=threads_of(self.settings, self.machine),
            backend=module,
            **fields,
        )

    def run(self, call: str, args: Mapping[str, Any], inputs: Mapping[str, Input] | None = None) -> JobResult:
        """Run a job whose result follows from its inputs; one that ran before is not repeated."""
        return run(self.job(call, args, inputs), self._told)

    def tried(self, job: Job) -> Mapping[str, Any]:
        """Return the facts of a job that may hang; it is run in any case. Raises JobError if it crashes or hangs."""
        return run(replace(job, limits=Limits(seconds=HANGS)), self._told, fresh=True).facts

    def measure(self, job: Job, watch: Callable[[], Watch] = Watch) -> JobResult:
        """Run a measurement: alone on the machine as far as edgehone goes, and never taken from the store."""
        also = {"device": self.machine.fingerprint, "measurement_group": uuid.uuid4().hex}
        return run(replace(job, exclusive=True, also=also, watch=watch), self._told)

    def _told(self, fraction: float, doing: str) -> None:
        """Say what a job waits for: other runs may hold the machine for minutes."""
        if doing.startswith("waiting"):
            self.say(doing)
