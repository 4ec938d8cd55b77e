"""The roofline model: the work that a recipe requires, and the time it takes at the rates that runtimes reach.

Generating a token reads every weight that it uses once, and the KV cache; a prompt multiplies every weight with each
of its tokens. Concurrent sequences share the reading of the weights but have a cache each. The predicted time is the
longest of three (Williams et al., "Roofline", 2009):

    memory     bytes read / (share · read bandwidth); faster by a factor if the weights fit in a cache
    compute    operations / (share · float32 rate · speedup of narrow integers by SIMD instructions)
    calls      a runtime's constant time per block, scaled by the speed of a core

The shares are those measured on this machine (`calibration`), or those of roofline.toml. Units are seconds, bytes and
operations per second. A `Time` has two errors as factors: of the runtime's share, and of the device's rates.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe
from edgehone.core.figure import Figure
from edgehone.model.info import ModelInfo
from edgehone.model.kv_cache import cache_bytes
from edgehone.plan import roofline_data

if TYPE_CHECKING:
    from edgehone.inputs.workload import Workload
    from edgehone.plan.target import PredictionTarget

# Weights of less than this many times the last-level cache stay cached from token to token, at least in part.
CACHED = 2


@dataclass(frozen=True)
class Demand:
    """The work that a workload requires of any build of a model, for all sequences. `prompt_tokens` is per sequence."""

    parameters: int
    used: float  # share of the weights read per token: without input embeddings and unused experts
    cache_bytes: int  # of all KV caches, half-way through the answers
    token_operations: float  # of one token of every sequence
    prompt_operations: float  # of all prompts
    prompt_tokens: int
    generated_tokens: int
    layers: int
    sequences: int = 1  # processed concurrently

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


def workload_demand(model: ModelInfo, work: Workload) -> Demand | None:
    """Return the work of a language model. None for a graph, or if the files do not state the model's shape."""
    if model.kind != "language" or not (model.layers and model.parameters):
        return None
    hidden, heads = model.hidden_size or 0, model.heads or 1
    embeddings = (model.vocabulary or 0) * hidden
    unread = 0 if model.tied_embeddings is not False else embeddings
    if model.experts and model.experts_per_token and model.intermediate_size:
        each = 3 * hidden * model.intermediate_size * model.layers
        unread += min(each * (model.experts - model.experts_per_token), model.parameters // 2)
    used = model.parameters - unread
    # The output layer is computed only for the last token of a prompt.
    body = max(used - embeddings, 1)
    width = heads * (model.head_dim or hidden // heads)
    prompt, count = work.prompt_tokens, work.sequences
    attention = 2 * prompt**2 * width * model.layers  # two products over half of all pairs
    return Demand(
        model.parameters,
        used / model.parameters,
        count * (cache_bytes(model, prompt + work.generated_tokens // 2) or 0),
        2.0 * used * count,
        count * (2.0 * body * prompt + attention + 2.0 * embeddings),
        prompt,
        work.generated_tokens,
        model.layers,
        count,
    )


@dataclass(frozen=True)
class Shares:
    """What a backend reaches at a precision: shares of bandwidth and compute rate, and seconds per block (`call`).

    Errors are factors that contain 95 % of the measured shares. `source` says where the shares come from.
    """

    read: float
    read_error: float
    compute: float
    compute_error: float
    call: float
    source: str


@dataclass(frozen=True)
class Time:
    """A predicted time in seconds, its errors as factors, and its bottleneck ("memory", "compute" or "calls")."""

    seconds: float
    runtime_error: float
    device_error: float
    bottleneck: str

    @property
    def factor(self) -> float:
        """Both errors combined, assuming that they are independent."""
        return math.exp(math.hypot(math.log(self.runtime_error), math.log(self.device_error)))

    def figure(self, unit: str, scale: float) -> Figure:
        """Return the time multiplied by `scale`, as a predicted figure."""
        return Figure.prediction(self.seconds * scale, self.factor, unit)

    def rate(self, count: int) -> Figure:
        """Return the rate of `count` tokens in this time, in tokens/s."""
        return Figure.prediction(count / self.seconds, self.factor, "tokens/s")

    def plus(self, other: Time, count: int) -> Time:
        """Return this time plus `count` times the other. Errors are weighted by share, as if fully correlated."""
        total = self.seconds + count * other.seconds
        first, rest = self.seconds / total, count * other.seconds / total
        return Time(
            total,
            math.exp(first * math.log(self.runtime_error) + rest * math.log(other.runtime_error)),
            math.exp(first * math.log(self.device_error) + rest * math.log(other.device_error)),
            self.bottleneck if first > rest else other.bottleneck,
        )


def token_time(
    demand: Demand, precision: str, size: float, shares: Shares, target: PredictionTarget
) -> Time | Figure:
    """Predict the time of one generated token with weights of `size` bytes. A missing figure without a bandwidth."""
    if target.bandwidth.value is None:
        return Figure.missing(str(target.bandwidth.reason), "s")
    rate = shares.read * target.bandwidth.value * 1e9
    if target.last_cache is not None and CACHED * size <= target.last_cache:
        rate *= roofline_data.table()["cached"]["faster"]
    read = (demand.used * size + demand.cache_bytes) / rate
    times = [Time(read, shares.read_error, target.bandwidth.factor, "memory")]
    times += [_compute(demand.token_operations, precision, shares, target)] if target.compute.value else []
    calls = shares.call * demand.layers * target.slower
    times.append(Time(calls, shares.read_error, target.slower_error, "calls"))
    return max(times, key=lambda time: time.seconds)


def prompt_time(
    demand: Demand, precision: str, shares: Shares, target: PredictionTarget, token: Time
) -> Time | Figure:
    """Predict the time of the whole prompt, which takes at least as long as one generated token."""
    if target.compute.value is None:
        return Figure.missing(str(target.compute.reason), "s")
    return max(
        _compute(demand.prompt_operations, precision, shares, target), token, key=lambda time: time.seconds
    )


def rate_of(precision: str, target: PredictionTarget) -> float:
    """Return the target's peak operations per second at a precision."""
    return float(target.compute.value or 0.0) * 1e9 * (1.0 if precision == "float" else target.int8_gain)


def _compute(operations: float, precision: str, shares: Shares, target: PredictionTarget) -> Time:
    seconds = operations / (shares.compute * rate_of(precision, target))
    return Time(seconds, shares.compute_error, target.compute.factor, "compute")


def precision_of(bits: float | None) -> str:
    """Return the class of a number of bits per weight: "low", "high" or "float"."""
    borders = roofline_data.table()["precision"]
    return "float" if bits is None or bits > borders["high"] else "high" if bits > borders["low"] else "low"


def predicted_bytes(recipe: Recipe, model: ModelInfo) -> Figure:
    """Predict the size of the artifact from its bits per weight, with the deviations measured on mixed builds."""
    if recipe.bits is None or not model.parameters:
        return Figure.missing("the bits per weight of the recipe are not known before the build", "bytes")
    size = model.parameters * recipe.bits / 8
    low, high = roofline_data.table()["bytes"]["low"], roofline_data.table()["bytes"]["high"]
    return Figure(size, size * low, size * high, 0, "bytes", "predicted")


def predicted_memory(backend: str, size: Figure, model: ModelInfo, work: Workload) -> Figure:
    """Predict peak resident bytes: weights, 16-bit KV caches for the workload's contexts, and the runtime."""
    cache = cache_bytes(model, work.context)
    base = roofline_data.table()["runtime_bytes"].get(backend)
    if size.value is None:
        return Figure.missing(str(size.reason), "bytes")
    if cache is None or base is None:
        unknown = f"the memory that {backend} itself uses" if base is None else "the size of its KV cache"
        return Figure.missing(f"{unknown} is not known", "bytes")
    cache *= work.sequences
    spread = roofline_data.table()["runtime_bytes"]["spread"]
    low, high = float(size.low or size.value), float(size.high or size.value)
    return Figure(
        size.value + cache + base, low + cache + base / spread, high + cache + base * spread, 0, "bytes",
        "predicted",
    )  # fmt: skip


def read_bytes(size: float, model: ModelInfo, tokens: int) -> float:
    """Return the bytes that decoding one token after `tokens` others reads from an artifact of `size` bytes.

    These are all weights except input embeddings (unless they are tied to the output layer), assuming equal bits for
    all weights, and a 16-bit KV cache.
    """
    unread = 0.0
    if model.tied_embeddings is False and model.vocabulary and model.hidden_size and model.parameters:
        unread = model.vocabulary * model.hidden_size / model.parameters
    return size * (1 - unread) + (cache_bytes(model, tokens) or 0)
