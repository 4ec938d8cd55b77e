"""The figures that a recipe is expected to have on a device, all predicted (`roofline`, `building`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe
from edgehone.core.figure import Figure
from edgehone.model.info import ModelInfo
from edgehone.plan import build_time, calibration, roofline
from edgehone.plan.calibration import Observation
from edgehone.plan.roofline import Demand
from edgehone.plan.target import PredictionTarget

if TYPE_CHECKING:
    from edgehone.inputs.workload import Workload

FIGURES = ("bytes", "memory", "prefill", "decode", "latency", "build")


@dataclass(frozen=True)
class Expected:
    """A recipe with its predicted figures.

    `bytes` and `memory` in bytes, `prefill` and `decode` in tokens/s, `latency` of one request of the workload in ms,
    `build` in s. `bottleneck`: what limits decoding ("memory", "compute" or "calls"). `obstacle`: why the recipe
    cannot be used on the target, or None. `shared`: the parts of `build` that other recipes of the backend share.
    """

    recipe: Recipe
    bytes: Figure
    memory: Figure
    prefill: Figure
    decode: Figure
    latency: Figure
    build: Figure
    bottleneck: str | None = None
    obstacle: str | None = None
    shared: Mapping[str, Figure] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        figures = {name: getattr(self, name).to_json() for name in FIGURES}
        data = {"key": self.recipe.key, "why": self.recipe.why, **figures}
        return {**data, "bound": self.bottleneck, "obstacle": self.obstacle}


@dataclass(frozen=True)
class Known:
    """What is known about this machine: candidates measured and builds timed on it, and free space in bytes."""

    here: PredictionTarget
    observations: Sequence[Observation] = ()
    builds: Sequence[build_time.Build] = ()
    free_memory: int | None = None
    free_disk: int | None = None


def expect(
    recipe: Recipe, model: ModelInfo, target: PredictionTarget, work: Workload, known: Known
) -> Expected:
    """Predict the figures of a recipe on the target."""
    size = roofline.predicted_bytes(recipe, model)
    memory = roofline.predicted_memory(recipe.backend, size, model, work)
    processors = build_time.Processors(known.here.compute, known.here.threads)
    build = build_time.predict(recipe, model, processors, known.builds)
    on = target.relative_to(known.here).for_backend(recipe.backend)
    demand = roofline.workload_demand(model, work)
    if demand is None:
        why = (
            "the operations of graphs are not counted"
            if model.kind == "graph"
            else "the model does not state its shape"
        )
        prefill, decode, latency, bottleneck = _unknown(why)
    else:
        prefill, decode, latency, bottleneck = _speed(recipe, size, demand, on, known.observations)
    return Expected(
        recipe, size, memory, prefill, decode, latency, build.whole, bottleneck, obstacle(size, memory, target),
        build.shared,
    )  # fmt: skip


def obstacle(size: Figure, memory: Figure, target: PredictionTarget) -> str | None:
    """Return why an artifact cannot be used on the target even at the low ends of its predicted figures, or None."""
    if memory.low is not None and target.memory_bytes is not None and memory.low > target.memory_bytes:
        return f"needs at least {memory.low / 1e9:.1f} GB, but {target.name} has {target.memory_bytes / 1e9:.1f} GB"
    if size.low is not None and target.size_budget_bytes and size.low > target.size_budget_bytes:
        return (
            f"has at least {size.low / 1e6:.0f} MB, but the size budget of {target.name} is "
            f"{target.size_budget_bytes / 1e6:.0f} MB"
        )
    return None


def _speed(
    recipe: Recipe, size: Figure, demand: Demand, on: PredictionTarget, observations: Sequence[Observation]
) -> tuple[Figure, Figure, Figure, str | None]:
    """Predict prefill, decode and latency, and the bottleneck of decoding."""
    if size.value is None:
        return _unknown(str(size.reason))
    precision = roofline.precision_of(recipe.bits)
    reached = calibration.shares(observations, recipe.backend, precision)
    token = roofline.token_time(demand, precision, size.value, reached, on)
    if isinstance(token, Figure):
        return _unknown(str(token.reason))
    if token.bottleneck == "memory":  # the size is not known exactly before the build
        token = replace(token, runtime_error=token.runtime_error * size.factor**0.5)
    prompt = roofline.prompt_time(demand, precision, reached, on, token)
    if isinstance(prompt, Figure):
        prefill, _, latency, _ = _unknown(str(prompt.reason))
        return prefill, token.rate(1), latency, token.bottleneck
    whole = prompt.plus(token, max(0, demand.generated_tokens - 1))
    prompts = demand.prompt_tokens * demand.sequences
    return prompt.rate(prompts), token.rate(1), whole.figure("ms", 1e3), token.bottleneck


def _unknown(reason: str) -> tuple[Figure, Figure, Figure, None]:
    rate = Figure.missing(reason, "tokens/s")
    return rate, rate, Figure.missing(reason, "ms"), None
