"""The contract of a backend: the names that a backend's module must define.

The core imports a backend's module, so the module imports its framework only inside the functions that a worker
process calls. The core calls `supports`, `recipes` and `steps`. Workers, started in the backend's own environment,
call `open_session` and the functions that the steps name. Optional names are in `edgehone.backends.capabilities`.

A third-party backend is a module of the same shape, registered as an entry point in the group `edgehone.backends`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from edgehone.backends.sessions import Session, WorkerJob
from edgehone.model.info import ModelInfo

Effort = Literal["quick", "normal", "thorough"]
EFFORTS: tuple[Effort, ...] = ("quick", "normal", "thorough")
_QUANTIZED_NAME = re.compile(r"(?:^|[+_-])(?:u?int\d|i?q\d|mix)", re.IGNORECASE)


@dataclass(frozen=True)
class Needs:
    """The environment that a backend's workers run in.

    `lock` is a requirements file with pinned versions; None uses edgehone's own interpreter. `toolchain` names a
    function `module:function` that compiles what no package provides: the environment's Python calls it once with an
    empty folder, and every worker gets that folder as `WorkerJob.toolchain`. `versions` are the distributions whose
    versions `edgehone backends` shows. `environment` names another backend whose environment this one shares; both
    must have the same lock and toolchain. `runtime` maps a kind of model ("language", "pictures" for those with a
    vision encoder, "graph") to the distributions of the lock that serving an artifact needs; the others only build. A
    kind that is missing needs all of them.
    `engine` maps a kind to the modules that its engines import, which a server imports before it knows the artifact.
    """

    lock: Path | None = None
    toolchain: str | None = None
    versions: tuple[str, ...] = ()
    environment: str | None = None
    runtime: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    engine: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_run(self, kind: str) -> Needs:
        """Return what running an artifact of this kind needs: an override may lack what only builds."""
        runtime = self.runtime.get(kind)
        if runtime is None:
            return self
        return replace(self, versions=tuple(name for name in self.versions if name in runtime))


@dataclass(frozen=True)
class Support:
    """Whether a backend supports a model. `reasons` explain a refusal, or list the limits of the support."""

    ok: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """One way to build and run a model with a backend.

    `build` determines the artifact; `settings` determine how its sessions are opened (KV-cache precision, …).
    `exact` marks the unquantized conversion, which the parity check compares with the original. `effort` is the lowest
    effort at which the recipe is tried. `calibrated` recipes read the calibration text. `surgery` describes changes to
    the checkpoint before the build (`edgehone.transform.surgery`); steps then read the changed checkpoint as `model`.
    `processors` are instruction sets: the recipe is planned only where the processor has one of them (empty: always).
    `bits` is the number of bits per weight including scales, from which the artifact's size is predicted; None if it is
    not known. `operations` are the float32 operations of the build's calibration, where the backend counts them, by
    what takes them: "imatrix", "sensitivity" (recipes share these two, so they run once), "gptq". 0 is unknown.
    """

    backend: str
    name: str
    build: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    effort: Effort = "normal"
    exact: bool = False
    calibrated: bool = False
    why: str = ""
    surgery: Mapping[str, Any] = field(default_factory=dict)
    bits: float | None = None
    processors: tuple[str, ...] = ()
    operations: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """`backend/name`: unique within a plan."""
        return f"{self.backend}/{self.name}"

    @property
    def quantizes(self) -> bool:
        """Return True if the name promises quantized weights: int8, Q4_K_M, mix-4.8. The build is held to it."""
        return _QUANTIZED_NAME.search(self.name) is not None

    @property
    def device(self) -> str | None:
        """The runtime's name of the device that a session is opened on; None is the CPU."""
        named: str | None = self.settings.get("device")
        return named

    @property
    def runs_on(self) -> str:
        """`backend` or `backend on DEVICE`: the unit that a parity check qualifies."""
        return self.backend if self.device is None else f"{self.backend} on {self.device}"

    def to_json(self) -> dict[str, Any]:
        """Return what determines the output: backend, name, build, settings, and surgery if there is any."""
        return {
            "backend": self.backend,
            "name": self.name,
            "build": dict(self.build),
            "settings": dict(self.settings),
            **({"surgery": dict(self.surgery)} if self.surgery else {}),
        }


@dataclass(frozen=True)
class TunableSetting:
    """An entry of `Recipe.settings` that may be searched once an artifact is chosen, with the values to try.

    `default` is the value in effect if a recipe does not set it; the value in effect is not tried again. `exact` means
    that the setting leaves outputs unchanged except for the order of summation. If it is false, each value's accuracy
    is evaluated before the value can be chosen.
    """

    name: str
    values: tuple[Any, ...]
    default: Any = None
    exact: bool = True


@dataclass(frozen=True)
class Step:
    """One build job: `call` (a `module:function` of the backend) fills an empty folder.

    `inputs` are the steps whose folders it reads; equal steps of different recipes run once.
    `reads` names its other inputs: `model` (the original's folder), `calibration` (the calibration text and a JSON
    list of its token ids), `sensitivity` (the cost of rounding each weight, measured once on the original by its own
    backend, in the format that `edgehone.transform.precision.assign.read` reads).
    `links` declares that the step fills the folder with links to its inputs. Such a step runs again if an input has
    moved, without invalidating the steps built on it.
    """

    call: str
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Step] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    links: bool = False


@runtime_checkable
class Backend(Protocol):
    """The names that every backend's module defines. For optional ones see `edgehone.backends.capabilities`.

    A backend with `REFERENCE = True` runs the original itself and is a `ReferenceBackend`.
    """

    NAME: str
    NEEDS: Needs
    REFERENCE: bool

    def supports(self, model: ModelInfo) -> Support:
        """Return whether the model can be built, and the reasons."""
        ...

    def recipes(self, model: ModelInfo) -> list[Recipe]:
        """Return all recipes for this model: the exact one first, then the most promising first."""
        ...

    def steps(self, recipe: Recipe) -> Step:
        """Return the last step of the recipe's build. Its folder is the artifact."""
        ...

    def open_session(self, artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> Session:
        """Load an artifact (worker side). Reads `job.threads` and `job.toolchain`."""
        ...


@runtime_checkable
class ReferenceBackend(Backend, Protocol):
    """A backend that runs the original itself (core side)."""

    def original(self, model: ModelInfo) -> Recipe:
        """Return the recipe of the original in its stored dtype: the baseline for speed and memory."""
        ...

    def reference(self, model: ModelInfo) -> Recipe:
        """Return the recipe of the original in float32: the reference for quality."""
        ...
