"""GPTQ for ggml's lookup types: eight weights at a time to the nearest entries of the table (worker side).

As for the other types the scales are those that llama-quantize chose. The nearest entry is that of the least error
after the best compensation in the columns that follow: the metric of `shared.gptq.round_units`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp import lookup
from edgehone.backends.llamacpp import scales as scales_of
from edgehone.backends.llamacpp.lookup import TABLES, UNIT
from edgehone.backends.llamacpp.nearest import nearest, nearest_scalars
from edgehone.backends.llamacpp.scales import FORMS
from edgehone.backends.shared import gptq
from edgehone.backends.shared.gptq import Factor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


def better_values(kind: str, raw: Any, weights: Floats, factor: Factor) -> Any:
    """Return the bytes of rows with GPTQ's values, or a row's own values if these have the lower error.

    `weights` are the unrounded ones [rows, columns]; the scales stay. The factor must keep units of eight columns.
    """
    import numpy as np

    rows, form = len(weights), FORMS[kind]
    found = scales_of.read(kind, raw, rows)
    each = np.repeat(found.step, len(found.integers) // len(found.step), 0) * found.integers
    scale = np.repeat(each, form.group, 0)[factor.order]
    safe = np.where(scale == 0, np.float32(np.inf), scale)
    present = lookup.values(kind, raw, rows)
    left = np.ascontiguousarray(weights.T[factor.order])
    own = gptq.losses(present.T[factor.order] * scale - left, factor.damped)
    chosen = np.empty(left.shape, np.int8)

    def each_scalar(at: int, weights: Floats, metric: Floats) -> Floats:
        found = nearest_scalars(weights / safe[at])
        chosen[at : at + 1] = found
        found *= scale[at]
        return found

    def each_unit(at: int, weights: Floats, metric: Floats) -> Floats:
        found = nearest(kind, weights / safe[at], metric)
        chosen[at : at + UNIT] = found
        found *= scale[at]
        return found

    scalar = TABLES[kind].width == 1
    _, lost = gptq.round_units(
        left, factor.upper, 1 if scalar else UNIT, each_scalar if scalar else each_unit
    )
    new = np.empty_like(present)
    new[:, factor.order] = chosen.T
    return lookup.with_values(kind, raw, np.where((lost < own)[:, None], new, present))
