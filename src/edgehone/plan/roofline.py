"""The roofline: what a recipe asks of a machine, and how long that takes there at the shares that runtimes reach.

A token of the answer reads every weight that it uses once, and the KV cache; a prompt multiplies every weight with
each of its tokens. Several sequences at once share the reading of the weights, and bring a cache each. The slowest of
three bounds is the time (Williams et al., "Roofline", 2009):

    memory     bytes read / (share · read bandwidth); many times faster where the weights fit a cache
    compute    operations / (share · float32 rate · what narrow integers gain by the processor's instructions)
    calls      what a runtime takes for each block whatever its size, scaled by the speed of a core

The shares are what was reached here (`calibration`), or what roofline.toml says. All is in seconds, bytes and
operations a second. A `Time` carries two errors as factors: of the runtime's own share, and of the device's papers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe
from edgehone.core.figure import Figure
from edgehone.model.info import ModelInfo
from edgehone.plan import roofline_data

if TYPE_CHECKING:
    from edgehone.inputs.workload import Workload
    from edgehone.plan.target import Target

# Weights of less than so many last caches stay there from token to token, in part at least.
CACHED = 2


@dataclass(frozen=True)
class Demand:
    """What a workload asks of any build of a model: of all its sequences together, but `prompt_tokens` of each."""

    parameters: int
    used: float  # share of the weights that a token reads: no input embeddings, of experts those chosen
    cache_bytes: int  # of the KV caches in the middle of the answers
    token_operations: float  # of a token of each sequence
    prompt_operations: float  # of the whole prompts
    prompt_tokens: int
    generated_tokens: int
    layers: int
    sequences: int = 1  # under way at once

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return asdict(self)


def demand(model: ModelInfo, work: Workload) -> Demand | None:
    """What the workload asks of a language model; None of a graph, or where the files do not tell its shape."""
    if model.kind != "language" or not (model.layers and model.parameters):
        return None
    hidden, heads = model.hidden_size or 0, model.heads or 1
    embeddings = (model.vocabulary or 0) * hidden
    unread = 0 if model.tied_embeddings is not False else embeddings
    if model.experts and model.experts_per_token and model.intermediate_size:
        each = 3 * hidden * model.intermediate_size * model.layers
        unread += min(each * (model.experts - model.experts_per_token), model.parameters // 2)
    used = model.parameters - unread
    # The head is computed for the last token of a prompt only.
    body = max(used - embeddings, 1)
    width = heads * (model.head_dim or hidden // heads)
    prompt, count = work.prompt_tokens, work.sequences
    attention = 2 * prompt**2 * width * model.layers  # two products over half of all pairs
    return Demand(
        model.parameters,
        used / model.parameters,
        cache_bytes(model, count * (prompt + work.generated_tokens // 2)) or 0,
        2.0 * used * count,
        count * (2.0 * body * prompt + attention + 2.0 * embeddings),
        prompt,
        work.generated_tokens,
        model.layers,
        count,
    )


@dataclass(frozen=True)
class Shares:
    """What a backend reaches at a precision: shares of bandwidth and of compute, and seconds for each block.

    Errors are factors that 95 % of what was seen lies within; `told` says where they come from.
    """

    read: float
    read_error: float
    compute: float
    compute_error: float
    call: float
    told: str


@dataclass(frozen=True)
class Time:
    """Seconds, the factors that they may be off by (the runtime's own, the device's), and what bounds them."""

    seconds: float
    own: float
    device: float
    bound: str

    @property
    def factor(self) -> float:
        """Both errors, as independent ones."""
        return math.exp(math.hypot(math.log(self.own), math.log(self.device)))

    def figure(self, unit: str, scale: float) -> Figure:
        """The seconds times `scale`, as a prediction."""
        return Figure.prediction(self.seconds * scale, self.factor, unit)

    def rate(self, count: int) -> Figure:
        """`count` tokens in this time, as tokens/s."""
        return Figure.prediction(count / self.seconds, self.factor, "tokens/s")

    def plus(self, other: Time, count: int) -> Time:
        """This, then the other `count` times; errors by what each takes of the whole, as if all went the same way."""
        total = self.seconds + count * other.seconds
        first, rest = self.seconds / total, count * other.seconds / total
        return Time(
            total,
            math.exp(first * math.log(self.own) + rest * math.log(other.own)),
            math.exp(first * math.log(self.device) + rest * math.log(other.device)),
            self.bound if first > rest else other.bound,
        )


def token_time(asked: Demand, precision: str, size: float, shares: Shares, target: Target) -> Time | Figure:
    """One token of the answer, with weights of `size` bytes; a missing figure where the papers lack too much."""
    if target.bandwidth.value is None:
        return Figure.missing(str(target.bandwidth.reason), "s")
    rate = shares.read * target.bandwidth.value * 1e9
    if target.last_cache is not None and CACHED * size <= target.last_cache:
        rate *= roofline_data.table()["cached"]["faster"]
    read = (asked.used * size + asked.cache_bytes) / rate
    times = [Time(read, shares.read_error, target.bandwidth.factor, "memory")]
    times += [_compute(asked.token_operations, precision, shares, target)] if target.compute.value else []
    calls = shares.call * asked.layers * target.slower
    times.append(Time(calls, shares.read_error, target.slower_error, "calls"))
    return max(times, key=lambda time: time.seconds)


def prompt_time(asked: Demand, precision: str, shares: Shares, target: Target, token: Time) -> Time | Figure:
    """The whole prompt, which takes no less than a token of the answer."""
    if target.compute.value is None:
        return Figure.missing(str(target.compute.reason), "s")
    return max(
        _compute(asked.prompt_operations, precision, shares, target), token, key=lambda time: time.seconds
    )


def rate_of(precision: str, target: Target) -> float:
    """Operations a second that the target's compute stands for at a precision, all that it has."""
    return float(target.compute.value or 0.0) * 1e9 * (1.0 if precision == "float" else target.gain)


def _compute(operations: float, precision: str, shares: Shares, target: Target) -> Time:
    seconds = operations / (shares.compute * rate_of(precision, target))
    return Time(seconds, shares.compute_error, target.compute.factor, "compute")


def precision_of(bits: float | None) -> str:
    """The class that a build's bits a weight belong to: "low", "high", "float"."""
    borders = roofline_data.table()["precision"]
    return "float" if bits is None or bits > borders["high"] else "high" if bits > borders["low"] else "low"


def predicted_bytes(recipe: Recipe, model: ModelInfo) -> Figure:
    """Bytes of the artifact by its bits a weight, with what mixed builds were seen to differ by."""
    if recipe.bits is None or not model.parameters:
        return Figure.missing("the recipe's bits a weight are not known before it is built", "bytes")
    size = model.parameters * recipe.bits / 8
    low, high = roofline_data.table()["bytes"]["low"], roofline_data.table()["bytes"]["high"]
    return Figure(size, size * low, size * high, 0, "bytes", "predicted")


def predicted_memory(backend: str, size: Figure, model: ModelInfo, work: Workload) -> Figure:
    """Peak resident bytes: weights, the KV caches of the workload's contexts at 16 bits, and the runtime itself."""
    cache = cache_bytes(model, work.context * work.sequences)
    base = roofline_data.table()["runtime_bytes"].get(backend)
    if size.value is None or cache is None or base is None:
        lacking = size.reason if size.value is None else f"what {backend} holds by itself is not known"
        return Figure.missing(str(lacking), "bytes")
    spread = roofline_data.table()["runtime_bytes"]["spread"]
    low, high = float(size.low or size.value), float(size.high or size.value)
    return Figure(
        size.value + cache + base, low + cache + base / spread, high + cache + base * spread, 0, "bytes",
        "predicted",
    )  # fmt: skip


def cache_bytes(model: ModelInfo, tokens: int) -> int | None:
    """Bytes of the KV cache at 16 bits; None where the model does not say."""
    if model.kind != "language":
        return 0
    heads = model.kv_heads or model.heads
    if not (model.layers and heads and model.head_dim):
        return None
    return 2 * 2 * model.layers * heads * model.head_dim * tokens


def read_bytes(size: float, model: ModelInfo, tokens: int) -> float:
    """Bytes that decoding one token reads of an artifact of `size` bytes, behind `tokens` others.

    All weights but the rows of the embeddings that are not asked for (where these are not the output's too; taken to
    be as many bits as the others), and the cache at 16 bits.
    """
    asleep = 0.0
    if model.tied_embeddings is False and model.vocabulary and model.hidden_size and model.parameters:
        asleep = model.vocabulary * model.hidden_size / model.parameters
    return size * (1 - asleep) + (cache_bytes(model, tokens) or 0)
