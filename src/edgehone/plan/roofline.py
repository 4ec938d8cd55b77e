"""What a recipe will weigh, hold and reach before it is built: predictions, labelled as such, with their error.

Decoding one token reads every weight once, and the KV cache; where these do not fit the caches, memory bounds it:
    tokens/s = efficiency · bandwidth / (weights + cache at the middle of the answer)        (roofline, Williams 2009)
Several sequences that are under way at once share that reading of the weights, and bring a cache each.
The efficiency is what runtimes reached of the bandwidth: of the trials in this machine's history where there are any,
else of the measurements in roofline.toml. Its scatter is the error that is stated.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe
from edgehone.figure import Figure
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.measure.workload import Workload

PREDICTED = "predicted"
# Weights of less than so many last caches stay there from token to token, in part at least.
CACHED = 2


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("roofline.toml").read_text("utf-8"))


def predicted_bytes(recipe: Recipe, model: ModelInfo) -> Figure:
    """Bytes of the artifact by its bits a weight, with what mixed builds were seen to differ by."""
    if recipe.bits is None or not model.parameters:
        return Figure.missing("the recipe's bits a weight are not known before it is built", "bytes")
    size = model.parameters * recipe.bits / 8
    low, high = _table()["bytes"]["low"], _table()["bytes"]["high"]
    return Figure(size, size * low, size * high, 0, "bytes", PREDICTED)


def predicted_memory(recipe: Recipe, model: ModelInfo, work: Workload) -> Figure:
    """Peak resident bytes: weights, the KV caches of the workload's contexts at 16 bits, and the runtime itself."""
    size, cache = predicted_bytes(recipe, model), cache_bytes(model, work.context * work.sequences)
    base = _table()["runtime_bytes"].get(recipe.backend)
    if size.value is None or cache is None or base is None:
        lacking = size.reason if size.value is None else f"what {recipe.backend} holds by itself is not known"
        return Figure.missing(str(lacking), "bytes")
    low, high = (float(end or 0) + cache + base for end in (size.low, size.high))
    return Figure(size.value + cache + base, low, high, 0, "bytes", PREDICTED)


def predicted_decode(
    recipe: Recipe,
    model: ModelInfo,
    work: Workload,
    *,
    bandwidth: Figure,
    last_cache: int | None,
    reached: Sequence[float],
) -> Figure:
    """Tokens/s of one sequence, of all that are under way at once.

    `bandwidth` in GB/s, `last_cache` bytes of the last cache (None: unknown), `reached` the efficiencies that this
    machine's history tells of the backend; of none those of roofline.toml serve.
    Missing, with the reason, for what fits the caches, since memory does not bound it.
    """
    unit = "tokens/s"
    size = predicted_bytes(recipe, model)
    if size.value is None or bandwidth.value is None:
        return Figure.missing(str(size.reason if size.value is None else bandwidth.reason), unit)
    if model.kind != "language":
        return Figure.missing("it generates no tokens", unit)
    if last_cache is not None and size.value < CACHED * last_cache:
        return Figure.missing("its weights fit the processor's caches: memory does not bound it", unit)
    middle = (work.prompt_tokens + work.generated_tokens // 2) * work.sequences
    read = size.value + (cache_bytes(model, middle) or 0)
    share, error = efficiency(recipe, reached)
    rate = share * bandwidth.value * 1e9 / read
    return Figure(rate, rate / error, rate * error, 0, unit, PREDICTED)


def efficiency(recipe: Recipe, reached: Sequence[float]) -> tuple[float, float]:
    """The geometric mean share of the bandwidth, and the factor that 95 % of the seen shares lie within."""
    seen = [share for share in reached if share > 0]
    if len(seen) < 3:
        table = _table()["efficiency"]
        width = "low" if (recipe.bits or 16) < 6 else "high"
        seen = list(table.get(recipe.backend, table["other"])[width])
    logs = [math.log(share) for share in seen]
    mean = sum(logs) / len(logs)
    spread = math.sqrt(sum((log - mean) ** 2 for log in logs) / max(1, len(logs) - 1))
    least = math.log(float(_table()["efficiency"]["least_error"]))
    return math.exp(mean), math.exp(max(least, NormalDist().inv_cdf(0.975) * spread))


def least_bytes() -> float:
    """The bytes of weights from which a measured decode tells of the memory: smaller ones lie in caches."""
    return float(_table()["efficiency"]["least_bytes"])


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


def building(model: ModelInfo, recipes: Sequence[Recipe]) -> tuple[int, int]:
    """Bytes of memory and of disk that building needs: the original in float32 and a copy beside it; the original's
    copy in 16 bits for each backend, and every artifact."""
    parameters = model.parameters or 0
    memory = round(_table()["building"]["copies"] * 4 * parameters)
    backends = {recipe.backend for recipe in recipes}
    artifacts = sum(int(predicted_bytes(recipe, model).high or 2 * parameters) for recipe in recipes)
    return memory, 2 * parameters * len(backends) + artifacts
