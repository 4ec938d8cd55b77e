"""Optional capabilities of a backend: one protocol for each, and the functions that look one up.

A backend's module satisfies a protocol by defining the names that the protocol lists; nothing is registered.
`capability(backend, GraphBackend)` returns the module typed as that protocol, or None. The conformance suite reports
the capabilities of a backend, and fails for a name that is nearly one of these and for a signature that does not fit.

A session may have capabilities too: `capability(session, ConcurrentSession)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from edgehone.backends.base import ReferenceBackend
from edgehone.core.errors import SetupError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgehone.backends.base import Backend, Recipe, Step, TunableSetting
    from edgehone.backends.serving import Engine
    from edgehone.backends.sessions import (
        GraphSession,
        OperatorTime,
        PictureProcessor,
        RoutingSession,
        TextSession,
        Tokenizer,
        VisionSession,
        WorkerJob,
    )
    from edgehone.backends.shared.visible_devices import VisibleDevices
    from edgehone.device.facts import Device
    from edgehone.model.info import ModelInfo

T = TypeVar("T")
Side = Literal["core", "worker"]


@runtime_checkable
class TokenizerBackend(Protocol):
    """A reference backend for language models, which opens the original's tokenizer (worker side)."""

    def open_tokenizer(self, model: Path, job: WorkerJob) -> Tokenizer:
        """Open the tokenizer of the original in the folder or file `model`."""
        ...


@runtime_checkable
class PictureProcessorBackend(Protocol):
    """A reference backend for vision-language models, which opens the original's picture processor (worker side)."""

    def open_picture_processor(self, model: Path, job: WorkerJob) -> PictureProcessor:
        """Open the picture processor of the original in the folder `model`."""
        ...


@runtime_checkable
class TextEncoderBackend(Protocol):
    """A reference backend that turns texts into the inputs of a text encoder (worker side)."""

    def encode_texts(self, model: Path, texts: Sequence[str | list[str]]) -> dict[str, NDArray[Any]]:
        """Return the encoder's input arrays by name, one row for each text or pair of texts."""
        ...


@runtime_checkable
class SensitivityBackend(Protocol):
    """A reference backend that measures how sensitive the original is to rounding each weight (core side).

    Steps of any backend that read `sensitivity` get the folder that this step fills, in the format that
    `edgehone.transform.precision.assign.read` reads.
    """

    SENSITIVITY: Step


@runtime_checkable
class GraphBackend(Protocol):
    """A backend that runs graphs: models whose `kind` is "graph" (worker side).

    Its calibrated steps read, as `calibration`, a folder with samples.npz: the input arrays by name, samples first.
    """

    def open_graph(self, artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> GraphSession:
        """Load the artifact of a graph. Reads `job.threads`."""
        ...


@runtime_checkable
class ConcurrentGraphBackend(Protocol):
    """A backend whose runtime runs several requests to one graph at the same time (worker side)."""

    def open_graph_many(
        self, artifact: Path, settings: Mapping[str, Any], job: WorkerJob, clients: int
    ) -> GraphSession:
        """Load the artifact of a graph for a session whose `run` is called from `clients` threads."""
        ...


@runtime_checkable
class VisionBackend(Protocol):
    """A backend that runs vision-language models: task "image-text-to-text" (worker side)."""

    def open_vision(self, artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> VisionSession:
        """Load the artifact of a vision-language model."""
        ...


@runtime_checkable
class RuntimeTokenizerBackend(Protocol):
    """A backend that opens the tokenizer of an artifact without its weights (worker side)."""

    def open_runtime_tokenizer(self, artifact: Path, job: WorkerJob) -> TextSession:
        """Load the tokenizer that the runtime uses for the artifact."""
        ...


@runtime_checkable
class EngineBackend(Protocol):
    """A backend whose framework answers many requests to a language model in one batch (worker side)."""

    def open_engine(self, artifact: Path, settings: Mapping[str, Any], job: WorkerJob, places: int) -> Engine:
        """Load the artifact for up to `places` requests at the same time. Reads `job.threads`."""
        ...


@runtime_checkable
class ServingSettings(Protocol):
    """A backend whose engine has settings that matter only while it serves (core side).

    They reach `open_engine` in its settings. An operator may change them and the tunable ones while a bundle is served.
    """

    def serving_settings(self, recipe: Recipe) -> Sequence[TunableSetting]:
        """Return the settings of an engine that serves an artifact of `recipe`."""
        ...


@runtime_checkable
class RoutingBackend(Protocol):
    """A backend whose runtime reports the experts a mixture-of-experts model chose for each token (worker side)."""

    def open_routing(self, artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> RoutingSession:
        """Load the artifact of a mixture-of-experts model."""
        ...


@runtime_checkable
class SharedSessions(Protocol):
    """A backend that opens the sessions of another one, whose name is `SESSIONS_OF` (core side).

    The same artifact with the same settings gives the same outputs in both, so it is scored once.
    """

    SESSIONS_OF: str


@runtime_checkable
class EmptyRuntimeBackend(Protocol):
    """A backend whose runtime can be started without a model (worker side).

    Its memory is subtracted from that of a process with a model, so that a gate on memory judges what the model adds.
    """

    def start_runtime(self, kind: Literal["language", "graph"], job: WorkerJob) -> None:
        """Load what a session of this kind of model loads before the model itself."""
        ...


@runtime_checkable
class OperatorProfiler(Protocol):
    """A backend whose framework profiles single operators (worker side)."""

    def operator_times(
        self, artifact: Path, settings: Mapping[str, Any], job: WorkerJob, **request: Any
    ) -> list[OperatorTime]:
        """Profile one request: `prompt` (token ids) and `generated` (a count), or `feeds` (arrays) for a graph."""
        ...


@runtime_checkable
class DeviceVisibility(Protocol):
    """A backend whose runtime reports the devices it can run on (worker side).

    The result is cached by the source of the module that defines the function and of that module's imports, so the
    function belongs in a small module of its own.
    """

    def devices(self, job: WorkerJob) -> dict[str, Any]:
        """Return `VisibleDevices(...).to_json()`."""
        ...


@runtime_checkable
class DeviceRecipes(Protocol):
    """A backend that offers variants of its recipes for visible accelerators (core side)."""

    def device_recipes(
        self, model: ModelInfo, recipes: Sequence[Recipe], visible: VisibleDevices
    ) -> tuple[list[Recipe], dict[str, str]]:
        """Return the variants, and for each device without a variant the reason, by device id.

        A variant names its device in `settings["device"]` and by the suffix `@DEVICE` of its name. Each device that has
        variants has exactly one that is exact.
        """
        ...


@runtime_checkable
class TunableBackend(Protocol):
    """A backend whose runtime has settings worth searching once an artifact is chosen (core side).

    The setting `threads` is common to all backends: it reaches a session as `job.threads`.
    """

    def tunable_settings(self, recipe: Recipe, device: Device, context: int) -> Sequence[TunableSetting]:
        """Return the settings to search for an artifact of `recipe` on `device`.

        `context` is the number of tokens that a session holds; 0 for a graph.
        """
        ...


# The setting of a recipe that names a device: how many layers are on it. All are without the setting.
LAYERS = "gpu_layers"


@runtime_checkable
class PartialOffload(Protocol):
    """A backend that can leave some layers of a model on the CPU, by the setting LAYERS (core side)."""

    def offloadable_layers(self, recipe: Recipe, model: ModelInfo) -> int:
        """Return how many layers can be put on the recipe's device one by one; 0 if all or none must be."""
        ...


@runtime_checkable
class MeasurementObstacle(Protocol):
    """A backend that also runs on machines whose figures say nothing about its target hardware (core side).

    On such a machine its candidates are built and checked, but speed, memory and energy are not measured.
    """

    def measurement_obstacle(self, device: Device) -> str | None:
        """Return why figures measured on `device` would be meaningless, or None if they are valid."""
        ...


@runtime_checkable
class AdapterBackend(Protocol):
    """A backend whose runtime can keep a LoRA adapter apart from its base model (core side).

    Steps of these recipes read, beside `model` (the base with the adapter merged in, which is the original), `base` and
    `adapter`: the checkpoint and the PEFT folder that the user gave.
    """

    def adapter_recipes(self, model: ModelInfo) -> Sequence[Recipe]:
        """Return the recipes that keep an adapter for `model` apart, one of them exact; none if it cannot be."""
        ...


@runtime_checkable
class SingleFileArtifact(Protocol):
    """A backend whose artifact is one file (core side).

    `ARTIFACT_FILE` is the file's name in the artifact folder; an imported file is linked under this name.
    """

    ARTIFACT_FILE: str


@dataclass(frozen=True)
class Capability:
    """A capability's name in reports, its protocol, and the side that uses it."""

    name: str
    protocol: type
    side: Side

    @property
    def members(self) -> tuple[str, ...]:
        """The names that the protocol itself adds, without those it inherits."""
        constants = inspect.get_annotations(self.protocol)
        functions = (name for name, value in vars(self.protocol).items() if inspect.isfunction(value))
        return tuple(name for name in (*constants, *functions) if not name.startswith("_"))


CAPABILITIES: tuple[Capability, ...] = (
    Capability("reference", ReferenceBackend, "core"),
    Capability("tokenizer", TokenizerBackend, "worker"),
    Capability("picture_processor", PictureProcessorBackend, "worker"),
    Capability("text_encoder", TextEncoderBackend, "worker"),
    Capability("sensitivity", SensitivityBackend, "core"),
    Capability("graph", GraphBackend, "worker"),
    Capability("concurrent_graph", ConcurrentGraphBackend, "worker"),
    Capability("vision", VisionBackend, "worker"),
    Capability("runtime_tokenizer", RuntimeTokenizerBackend, "worker"),
    Capability("engine", EngineBackend, "worker"),
    Capability("serving_settings", ServingSettings, "core"),
    Capability("routing", RoutingBackend, "worker"),
    Capability("shared_sessions", SharedSessions, "core"),
    Capability("empty_runtime", EmptyRuntimeBackend, "worker"),
    Capability("operator_profiler", OperatorProfiler, "worker"),
    Capability("device_visibility", DeviceVisibility, "worker"),
    Capability("device_recipes", DeviceRecipes, "core"),
    Capability("partial_offload", PartialOffload, "core"),
    Capability("tunable", TunableBackend, "core"),
    Capability("measurement_obstacle", MeasurementObstacle, "core"),
    Capability("adapter", AdapterBackend, "core"),
    Capability("single_file_artifact", SingleFileArtifact, "core"),
)


def capability(backend: object, protocol: type[T]) -> T | None:
    """Return the backend (or session) typed as the protocol, or None if it lacks a name of the protocol."""
    return backend if isinstance(backend, protocol) else None


def require(backend: Backend, protocol: type[T]) -> T:
    """Return the backend typed as the protocol. Raises SetupError if it lacks a name of the protocol."""
    found = capability(backend, protocol)
    if found is None:
        (wanted,) = (one for one in CAPABILITIES if one.protocol is protocol)
        raise SetupError(
            f"the backend '{backend.NAME}' lacks the capability '{wanted.name}' ({', '.join(wanted.members)})",
            hint=f"edgehone backends conform {backend.NAME}",
        )
    return found


def capabilities_of(backend: object) -> list[str]:
    """Return the names of all capabilities that a backend has, in the order of CAPABILITIES."""
    return [one.name for one in CAPABILITIES if isinstance(backend, one.protocol)]


def session_backend(backend: Backend) -> str:
    """Return the name of the backend whose sessions a backend opens: its own, unless it says otherwise."""
    found = capability(backend, SharedSessions)
    return found.SESSIONS_OF if found else backend.NAME


def measurement_obstacle(backend: Backend, device: Device) -> str | None:
    """Return why the backend's speed, memory and energy cannot be measured on this device, or None if they can."""
    found = capability(backend, MeasurementObstacle)
    return found.measurement_obstacle(device) if found else None


def tunable_settings(
    backend: Backend, recipe: Recipe, device: Device, context: int
) -> Sequence[TunableSetting]:
    """Return the settings to search for an artifact; none for a recipe that runs on an accelerator."""
    found = capability(backend, TunableBackend)
    return found.tunable_settings(recipe, device, context) if found and not recipe.device else ()
