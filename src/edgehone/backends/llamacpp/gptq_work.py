"""How much text calibrated builds read, and the arithmetic that they take, for predictions before the build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.model.info import ModelInfo

# Tokens of a window: llama-imatrix's default chunk.
WINDOW = 512
# Up to 100 million parameters all of the text that ships is used. Larger models read less of it in proportion, since
# the time of the passes grows with parameters times tokens: 8,192 tokens (32 windows of 256, as in MLX's GPTQ) at 0.4
# billion and more. How much divergence that costs was not measured.
_MOST_TOKENS = 1 << 15
_LEAST_TOKENS = 1 << 13
ALL_UP_TO = 100_000_000


def calibration_tokens(parameters: int) -> int:
    """Return how many tokens of the calibration text GPTQ and llama-imatrix read at most."""
    fewer = _MOST_TOKENS * ALL_UP_TO // max(parameters, 1)
    return max(_LEAST_TOKENS, min(_MOST_TOKENS, fewer))


# A sensitivity measurement takes the original's forward passes of 16 windows of 256 tokens, the backward pass (twice as
# much), the products with the rounding errors (once more), and 8 forward passes of half the model on average.
_SENSITIVITY_TOKENS = 16 * 256
_SENSITIVITY_PASSES = 1 + 2 + 1 + 8 / 2


def calibration_operations(build: Mapping[str, Any], model: ModelInfo) -> float:
    """Return the operations of a build's importance matrix, sensitivities and GPTQ; 0 if it has none of them.

    A measurement that several builds share counts for each of them.
    """
    once = 2.0 * model.parameters
    total = once * calibration_tokens(model.parameters) if build.get("imatrix") else 0.0
    if "mix" in build:
        total += once * _SENSITIVITY_TOKENS * _SENSITIVITY_PASSES
    return total + (operations(model) if build.get("gptq") else 0.0)


def operations(model: ModelInfo) -> float:
    """Return the floating-point operations of GPTQ on all blocks of a dense model; 0 if its shape is not known.

    Two passes of the text through each block (one for the moments, one for its quantized outputs), the moments (of
    which half is computed), their Cholesky factors with inverses (4/3 n³, as `shared.gptq` computes them), the
    compensation (n² for each row), and the error of the present codes (2 n² for each row).
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
    passes = 2 * 2 * tokens * sum(rows * columns for rows, columns in matrices)
    moments = sum(tokens * width**2 for width in widths)
    factors = sum(4 / 3 * width**3 for width in widths)
    rounding = sum(3 * rows * columns**2 for rows, columns in matrices)
    return float(layers * (passes + moments + factors + rounding))
