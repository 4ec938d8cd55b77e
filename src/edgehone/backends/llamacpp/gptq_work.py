"""How much text calibrated builds read, and the arithmetic that they take, for predictions before the build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.model.info import ModelInfo

# Tokens of a window: llama-imatrix's default chunk.
WINDOW = 512
# GPTQ's moments: up to 100 million parameters all of the text that ships. Larger models read less of it in proportion,
# since the time of the passes grows with parameters times tokens: 8,192 tokens (32 windows of 256, as in MLX's GPTQ) at
# 0.4 billion and more. How much divergence that costs was not measured.
_MOST_TOKENS = 1 << 15
_LEAST_TOKENS = 1 << 13
_ALL_UP_TO = 100_000_000
# An importance matrix has only one value for each column, which needs less text: of five types of the demo model from
# 4,096 tokens up the divergence stays within its interval (docs/large-models.md).
_IMATRIX_TOKENS = 1 << 13


def calibration_tokens(parameters: int) -> int:
    """Return how many tokens of the calibration text GPTQ reads at most."""
    fewer = _MOST_TOKENS * _ALL_UP_TO // max(parameters, 1)
    return max(_LEAST_TOKENS, min(_MOST_TOKENS, fewer))


def imatrix_tokens(parameters: int, mixture: bool) -> int:
    """Return how many tokens of it llama-imatrix reads at most. An expert of a mixture sees only a part of them."""
    return calibration_tokens(parameters) if mixture else _IMATRIX_TOKENS


# Sweeps of coordinate descent after GPTQ (`descent`), and how far weights move towards those that make up for errors in
# their inputs (`shared.gptq.shift`; the demo model in Q2_K has a KL of 0.0675 at 0, 0.0614 at 0.5 and 0.0632 at 1).
SWEEPS, SHARE = 3, 0.6
# Both take about twice the time of GPTQ itself. Above so many parameters they are left to files of less than 4 bits a
# weight, where most is to be gained.
_THOROUGH_UP_TO = 400_000_000
_FEW_BITS = 4.1


def is_thorough(parameters: int, bits: float) -> bool:
    """Return True if GPTQ is followed by descent, and makes up for errors in the inputs."""
    return parameters <= _THOROUGH_UP_TO or bits < _FEW_BITS


# A sensitivity measurement takes the original's forward passes of 16 windows of 256 tokens, the backward pass (twice as
# much), the products with the rounding errors (once more), and 8 forward passes of half the model on average.
_SENSITIVITY_TOKENS = 16 * 256
_SENSITIVITY_PASSES = 1 + 2 + 1 + 8 / 2


def calibration_operations(build: Mapping[str, Any], model: ModelInfo, bits: float) -> dict[str, float]:
    """Return the operations of a build's importance matrix, sensitivities and GPTQ, as far as it has them.

    `bits` are those of a weight in the result.
    """
    once = 2.0 * model.parameters
    found = {}
    if build.get("imatrix"):
        found["imatrix"] = once * imatrix_tokens(model.parameters, bool(model.experts))
    if "mix" in build:
        found["sensitivity"] = once * _SENSITIVITY_TOKENS * _SENSITIVITY_PASSES
    if build.get("gptq"):
        found["gptq"] = operations(model, is_thorough(model.parameters, bits))
    return found


def operations(model: ModelInfo, thorough: bool) -> float:
    """Return the floating-point operations of GPTQ on all blocks of a dense model; 0 if its shape is not known.

    Two passes of the text through each block (one for the moments, one for its quantized outputs), the moments (of
    which half is computed), their Cholesky factors with inverses (4/3 n³, as `shared.gptq` computes them), the
    compensation (n² for each row), and the error of the present codes (2 n² for each row).

    If `thorough`, also a pass of the exact model, the products of both inputs, the shift (4 n³, and 2 n² for each row),
    and in each sweep of the descent two products of a row with the moments, besides that of the first errors. Searches
    in tables (`nearest`) are not counted: GPTQ on the demo model took 33.9 processor seconds with them, and 35.8 on a
    mix of K types of the same size.
    """
    hidden, wide, layers = model.hidden_size or 0, model.intermediate_size or 0, model.layers or 0
    if not (hidden and wide and layers):
        return 0.0
    tokens = calibration_tokens(model.parameters)
    heads = (model.heads or 1) * (model.head_dim or hidden // (model.heads or 1))
    keys = (model.kv_heads or model.heads or 1) * (model.head_dim or hidden // (model.heads or 1))
    # Rows and columns of the matrices of a block, and the widths of its distinct inputs.
    matrices = [(heads + 2 * keys, hidden), (hidden, heads), (2 * wide, hidden), (hidden, wide)]
    widths = [hidden, heads, hidden, wide]
    more = int(thorough)
    passes = (2 + more) * 2 * tokens * sum(rows * columns for rows, columns in matrices)
    moments = (1 + 2 * more) * sum(tokens * width**2 for width in widths)
    factors = (4 / 3 + 4 * more) * sum(width**3 for width in widths)
    each = 3 + more * (2 + 2 + 4 * SWEEPS)
    rounding = each * sum(rows * columns**2 for rows, columns in matrices)
    return float(layers * (passes + moments + factors + rounding))
