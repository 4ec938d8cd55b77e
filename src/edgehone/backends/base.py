"""What a backend is: one module with these names, nothing else.

A backend's module is imported by the core, so it imports its framework only inside the functions that a
worker process calls. The core asks `supports`, `recipes` and `steps`; workers, started in the backend's own
environment, run the functions that the steps name, and `open_session`.

A third party's backend is a module of this shape, named by an entry point in the group `edgehone.backends`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from edgehone.backends.sessions import Session, WorkerJob
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

Effort = Literal["quick", "normal", "thorough"]
EFFORTS: tuple[Effort, ...] = ("quick", "normal", "thorough")


@dataclass(frozen=True)
class Needs:
    """The environment that a backend's workers run in.

    `lock` is a file of pinned requirements (None: edgehone's own interpreter will do). `toolchain` names a
    function `module:function` that is run once by the environment's own Python with an empty folder and may
    compile what no package carries; its folder is handed to every worker as `WorkerJob.toolchain`.
    `versions` are the distributions whose versions `edgehone backends` shows. `environment` names another
    backend whose environment, of the same lock and toolchain, is shared: it is made once for both.
    """

    lock: Path | None = None
    toolchain: str | None = None
    versions: tuple[str, ...] = ()
    environment: str | None = None


@dataclass(frozen=True)
class Support:
    """Whether a backend can take a model. `reasons` say why not, or under which limits."""

    ok: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """Backend + what is built + how it is run.

    `build` determines the artifact, `settings` how a session of it is opened (KV-cache precision, threads, …).
    `exact` marks the unquantized conversion that the null test judges. `effort` is the least effort at which
    the recipe is tried. `calibrated` recipes read the calibration text. `surgery` is what is done to the checkpoint
    first (`edgehone.transform.surgery`): what the steps read as `model` is then its result. `bits` a weight, scales counted, tell
    what it will weigh before it is built; None where that is not known.
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

    @property
    def key(self) -> str:
        """`backend/name`: unique within a plan, readable in a table."""
        return f"{self.backend}/{self.name}"

    @property
    def device(self) -> str | None:
        """The device that a session of it is opened on, as the runtime names it; None is the CPU."""
        named: str | None = self.settings.get("device")
        return named

    @property
    def runs_on(self) -> str:
        """`backend`, or `backend on DEVICE`: what a null test is of."""
        return self.backend if self.device is None else f"{self.backend} on {self.device}"

    def to_json(self) -> dict[str, Any]:
        """What determines the output: backend, name, build, settings, and surgery where there is one."""
        return {
            "backend": self.backend,
            "name": self.name,
            "build": dict(self.build),
            "settings": dict(self.settings),
            **({"surgery": dict(self.surgery)} if self.surgery else {}),
        }


@dataclass(frozen=True)
class Tuning:
    """A setting of `Recipe.settings` that may be searched once an artifact is chosen, and the values worth a try.

    `now` is what holds where a recipe does not name it: a value that holds already is not tried. `exact` tells that the
    outputs stay what they are, but for the order of sums; what a value of another setting does to them is scored before
    it may win.
    """

    name: str
    values: tuple[Any, ...]
    now: Any = None
    exact: bool = True


@dataclass(frozen=True)
class Step:
    """One build job: `call` (a `module:function` of the backend) fills an empty folder.

    `inputs` names the steps whose folders it reads: equal steps of different recipes are built once.
    `reads` names what else it reads: `model` (the original's folder), `calibration` (the calibration ids,
    a JSON list, and its text beside it), `sensitivity` (what rounding each weight costs: a folder that
    `edgehone.transform.precision.assign.read` reads, measured once on the original by its own backend). `links` tells
    that it fills the folder with links to what it reads: it is then made again for an input that lies elsewhere,
    while what is built on it stays.
    """

    call: str
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Step] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    links: bool = False


class Backend(Protocol):
    """The names that a backend's module must have.

    A backend whose runtime tells which experts of a mixture it chose may have `open_routing(artifact, settings,
    job) -> RoutingSession` too.

    A backend that takes multi-modal language models (task "image-text-to-text") has `open_vision(artifact, settings,
    job) -> VisionSession` too; if it runs originals, `open_pictures(model, job)` as `measure.prepare_pictures` asks.

    A backend that takes graphs has `open_graph(artifact, settings, job) -> GraphSession` too. What its steps
    read as `calibration` is then a folder with samples.npz: the inputs' arrays by name, samples first.
    If its runtime runs several requests at once it may have `open_graph_many(artifact, settings, job, clients) ->
    GraphSession` too: `run` is then called from so many threads.

    A backend whose runtime has settings worth a search has `tunings(recipe, device, context) -> Sequence[Tuning]` too:
    for an artifact of that recipe on that device, in sessions that hold `context` tokens (0: a graph). The setting
    `threads` is everybody's: it reaches a session as `job.threads`.

    A backend with `REFERENCE = True` runs the original itself; it has what `ReferenceBackend` names as well.

    A backend whose framework profiles its operators may have `operator_times(artifact, settings, job, **request) ->
    list[OperatorTime]` too (worker side): one request, `prompt` ids and `generated` tokens, or `feeds` of a graph.

    A backend that runs on machines where its speed, memory and energy say nothing of those that it is made for
    has `unmeasurable(device) -> str | None` too: the reason on such a machine, else None. Its candidates are
    then built and proven, not measured.

    A backend whose runtime tells which devices it can run on may have `devices(job) -> dict` too (worker side): it
    returns `Seen(...).to_json()` of `backends.seen`. It may have `on_devices(model, recipes, seen)` beside it (core
    side): variants of its recipes on devices that were seen, each naming its own in `settings["device"]` and by a
    suffix `@DEVICE` of its name, the exact one among them; and by device why there are none on it.
    """

    NAME: str
    NEEDS: Needs
    REFERENCE: bool

    def supports(self, model: ModelInfo) -> Support:
        """Whether the model can be built, and the reasons."""
        ...

    def recipes(self, model: ModelInfo) -> list[Recipe]:
        """All recipes worth knowing for this model, the exact one first, then in order of promise."""
        ...

    def steps(self, recipe: Recipe) -> Step:
        """The last step of the recipe's build; its folder is the artifact."""
        ...

    def open_session(self, artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> Session:
        """Load an artifact (worker side). Reads `job.threads` and `job.toolchain`."""
        ...


def why_unmeasurable(backend: Backend, device: Device) -> str | None:
    """The reason why the backend's speed, memory and energy say nothing on this machine; None if they do."""
    ask = getattr(backend, "unmeasurable", None)
    reason: str | None = None if ask is None else ask(device)
    return reason


def tunings_of(backend: Backend, recipe: Recipe, device: Device, context: int) -> Sequence[Tuning]:
    """The settings that may be searched for an artifact; none where the backend names none, or off the CPU."""
    ask = getattr(backend, "tunings", None)
    found: Sequence[Tuning] = () if ask is None or recipe.device else ask(recipe, device, context)
    return found


class ReferenceBackend(Backend, Protocol):
    """A backend that runs the original itself.

    One that can tell what rounding each weight costs has `SENSITIVITY: Step` too, which other backends' steps read.
    """

    def original(self, model: ModelInfo) -> Recipe:
        """The original as its users run it today, in its stored dtype: the baseline for speed and memory."""
        ...

    def reference(self, model: ModelInfo) -> Recipe:
        """The original in float32: the reference for quality."""
        ...

    def open_tokenizer(self, model: Path, job: WorkerJob) -> Any:
        """The original's own tokenizer (worker side): a `measure.prepare.Tokenizer`."""
        ...
