"""What a run would try, in which order and why, and what is to be expected of it: nothing is built.

Frameworks come in the matrix's order, recipes in each backend's order of promise. Every expectation is a prediction
that says so (`roofline`); what would not fit the machine that builds is refused, with what would (`building`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Backend, Effort, Recipe
from edgehone.core.errors import ModelError
from edgehone.core.figure import Figure
from edgehone.model.info import ModelInfo
from edgehone.plan import building, calibration, roofline
from edgehone.plan.advice import Advice, advice
from edgehone.plan.calibration import Seen
from edgehone.plan.matrix import Matrix, Ranked, rank
from edgehone.plan.plan import Plan, plan
from edgehone.plan.roofline import Demand
from edgehone.plan.target import Target

if TYPE_CHECKING:
    from edgehone.inputs.workload import Workload

FIGURES = ("bytes", "memory", "prefill", "decode", "latency", "build")


@dataclass(frozen=True)
class Expected:
    """A recipe and what is predicted of it; `obstacle` is why it cannot be used on the target, None where it can.

    `prefill` and `decode` in tokens/s, `latency` of a request of the workload in ms, `build` in s, the others in bytes.
    """

    recipe: Recipe
    bytes: Figure
    memory: Figure
    prefill: Figure
    decode: Figure
    latency: Figure
    build: Figure
    bound: str | None = None  # what decoding waits for
    obstacle: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        figures = {name: getattr(self, name).to_json() for name in FIGURES}
        told = {"key": self.recipe.key, "why": self.recipe.why, **figures}
        return {**told, "bound": self.bound, "obstacle": self.obstacle}


@dataclass(frozen=True)
class Known:
    """What this machine's history tells: candidates that were measured on it, and builds that were timed."""

    here: Target
    seen: Sequence[Seen] = ()
    builds: Sequence[building.Build] = ()
    free_memory: int | None = None
    free_disk: int | None = None


@dataclass(frozen=True)
class Recommendation:
    """The frameworks in order, the recipes with what is expected, and what building needs (bytes)."""

    ranked: tuple[Ranked, ...]
    expected: tuple[Expected, ...]
    refused: Mapping[str, str]
    advice: tuple[Advice, ...]
    build_memory: int
    build_disk: int
    obstacles: tuple[str, ...]  # why this machine cannot build them, and what would do
    build_seconds: Figure = field(default_factory=lambda: Figure.missing("nothing is built", "s"))

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {
            "frameworks": [asdict(one) for one in self.ranked],
            "recipes": [one.to_json() for one in self.expected],
            "refused": dict(self.refused),
            "advice": [asdict(one) for one in self.advice],
            "build": {
                "memory_bytes": self.build_memory,
                "disk_bytes": self.build_disk,
                "seconds": self.build_seconds.to_json(),
            },
            "obstacles": list(self.obstacles),
        }


def recommend(
    model: ModelInfo,
    backends: Mapping[str, Backend],
    effort: Effort,
    *,
    target: Target,
    work: Workload,
    matrix: Matrix,
    known: Known,
) -> Recommendation:
    """The recommendation. Raises ModelError where no backend takes the model."""
    made = planned(plan(model, backends, effort), matrix, target.row, target.cannot(matrix), model)
    expected = [expect(recipe, model, target, work, known) for recipe in made.recipes]
    needed = building.need(model, made.recipes)
    return Recommendation(
        tuple(rank(matrix, target.row, model, made.backends)),
        tuple(expected),
        made.refused,
        tuple(advice(target, made.backends, model)),
        needed.memory,
        needed.disk,
        tuple(building.obstacles(needed, known.free_memory, known.free_disk)),
        _together([one.build for one in expected]),
    )


def planned(made: Plan, matrix: Matrix, row: str, cannot: Mapping[str, str], model: ModelInfo) -> Plan:
    """The plan with its backends in the order of the matrix's row, without those that `cannot` run, with the reason;
    within a backend nothing moves. Raises ModelError where none is left."""
    out = {name: why for name, why in cannot.items() if name in made.backends}
    kept = [recipe for recipe in made.recipes if recipe.backend not in out]
    if not kept:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in {**made.refused, **out}.items())
        raise ModelError(
            f"no backend that can take {model.path} runs there:{reasons}", hint="edgehone device list"
        )
    ranks = rank(matrix, row, model, made.backends)
    places = {ranked.backend: at for at, ranked in enumerate(ranks)}
    kept.sort(key=lambda recipe: places[recipe.backend])
    return Plan(tuple(kept), {**made.refused, **out}, made.uncut)


def expect(recipe: Recipe, model: ModelInfo, target: Target, work: Workload, known: Known) -> Expected:
    """What is predicted of a recipe on the target."""
    size = roofline.predicted_bytes(recipe, model)
    memory = roofline.predicted_memory(recipe.backend, size, model, work)
    build = building.seconds(recipe, model.parameters, known.builds)
    on = target.seen_from(known.here).run_by(recipe.backend)
    asked = roofline.demand(model, work)
    if asked is None:
        why = (
            "a graph's operations are not counted"
            if model.kind == "graph"
            else "the model does not tell its shape"
        )
        prefill, decode, latency, bound = _unknown(why)
    else:
        prefill, decode, latency, bound = _speed(recipe, size, asked, on, known.seen)
    return Expected(
        recipe, size, memory, prefill, decode, latency, build, bound, obstacle(size, memory, target)
    )


def obstacle(size: Figure, memory: Figure, target: Target) -> str | None:
    """Why a build cannot be used on the target even at the end of the predictions that favours it; None if it can."""
    if memory.low is not None and target.memory_bytes is not None and memory.low > target.memory_bytes:
        return (
            f"needs {memory.low / 1e9:.1f} GB at least, {target.name} has {target.memory_bytes / 1e9:.1f} GB"
        )
    if size.low is not None and target.size_budget_bytes and size.low > target.size_budget_bytes:
        return (
            f"weighs {size.low / 1e6:.0f} MB at least, the budget of {target.name} is "
            f"{target.size_budget_bytes / 1e6:.0f} MB"
        )
    return None


def _speed(
    recipe: Recipe, size: Figure, asked: Demand, on: Target, found: Sequence[Seen]
) -> tuple[Figure, Figure, Figure, str | None]:
    """Prefill, decode and latency, and what decoding waits for."""
    if size.value is None:
        return _unknown(str(size.reason))
    precision = roofline.precision_of(recipe.bits)
    reached = calibration.shares(found, recipe.backend, precision)
    token = roofline.token_time(asked, precision, size.value, reached, on)
    if isinstance(token, Figure):
        return _unknown(str(token.reason))
    if token.bound == "memory":  # how many bytes it will be is not known before it is built
        token = replace(token, own=token.own * size.factor**0.5)
    prompt = roofline.prompt_time(asked, precision, reached, on, token)
    if isinstance(prompt, Figure):
        prefill, _, latency, _ = _unknown(str(prompt.reason))
        return prefill, token.rate(1), latency, token.bound
    whole = prompt.plus(token, max(0, asked.generated_tokens - 1))
    prompts = asked.prompt_tokens * asked.sequences
    return prompt.rate(prompts), token.rate(1), whole.figure("ms", 1e3), token.bound


def _unknown(reason: str) -> tuple[Figure, Figure, Figure, None]:
    rate = Figure.missing(reason, "tokens/s")
    return rate, rate, Figure.missing(reason, "ms"), None


def _together(times: Sequence[Figure]) -> Figure:
    """The sum of all builds, one after the other; missing where one is."""
    if not times:
        return Figure.missing("nothing is built", "s")
    for one in times:
        if one.value is None:
            return one
    ends = ([getattr(one, end) or 0.0 for one in times] for end in ("value", "low", "high"))
    value, low, high = (float(sum(end)) for end in ends)
    return Figure(value, low, high, 0, "s", "predicted")
