"""Read and write the scales of ggml's quantized blocks (worker side).

A weight is `scale * code - zero`. A block of 256 weights (32 in Q4_0 and Q5_0) has a step in float16, and in asymmetric
types a second one; each group of 16 or 32 weights has a small integer for each of them: scale = step * integer, and
zero = second step * second integer, or zero = offset * scale in symmetric types. Layouts as in `codes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp import lookup_scales
from edgehone.backends.llamacpp.codes import LAYOUTS, half, six_bits, sixteen_scales
from edgehone.backends.llamacpp.lookup import TABLES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Form:
    """The scales of a type: weights of a group, the least and largest integer, and what zeros are.

    `offset`: zero = offset * scale. None: zeros have integers of their own, from 0 to the largest. `gap`: the distance
    of the integers, of which the types of `lookup` have odd ones; `unit` is their step for a float16 step of 1.
    """

    group: int
    least: int
    most: int
    offset: int | None = None
    gap: int = 1
    unit: float = 1.0

    def nearest(self, integers: Any) -> Any:
        """Return the nearest integers that the type has."""
        import numpy as np

        found = np.rint((integers - self.least) / np.float32(self.gap)) * self.gap + self.least
        return np.clip(found, self.least, self.most)

    def to_half(self, steps: Any) -> Any:
        """Return the nearest steps that float16 has; infinite ones beyond its range."""
        import numpy as np

        with np.errstate(over="ignore"):
            halves = (steps / np.float32(self.unit)).astype(np.float16)
        return halves.astype(np.float32) * np.float32(self.unit)


FORMS = {
    "Q4_0": Form(32, 1, 1, 8),
    "Q5_0": Form(32, 1, 1, 16),
    "Q2_K": Form(16, 0, 15),
    "Q3_K": Form(16, -32, 31, 4),
    "Q4_K": Form(32, 0, 63),
    "Q5_K": Form(32, 0, 63),
    "Q6_K": Form(16, -128, 127, 32),
    "IQ2_XXS": Form(32, 1, 31, 0, 2, 1 / 8),
    "IQ2_XS": Form(16, 1, 31, 0, 2, 1 / 8),
    "IQ2_S": Form(16, 1, 31, 0, 2, 1 / 8),
    "IQ3_XXS": Form(32, 1, 31, 0, 2, 1 / 4),
    "IQ3_S": Form(32, 1, 31, 0, 2),
    "IQ4_XS": Form(32, -32, 31, 0),
    "IQ4_NL": Form(32, 1, 1, 0),
}


def block_bytes(kind: str) -> int:
    """Return the bytes of a block."""
    return TABLES[kind].size if kind in TABLES else LAYOUTS[kind][0]


def block_weights(kind: str) -> int:
    """Return the weights of a block."""
    return TABLES[kind].block if kind in TABLES else LAYOUTS[kind][1]


@dataclass
class Scales:
    """Float32 arrays: `step` and `low` [blocks, rows], `integers` and `lows` [groups, rows]. Symmetric: no lows."""

    step: Floats
    integers: Floats
    low: Floats | None = None
    lows: Floats | None = None


def read(kind: str, raw: Bytes, rows: int) -> Scales:
    """Return the scales of a tensor's bytes. Raises KeyError for a type that is not in FORMS."""
    import numpy as np

    blocks = raw.reshape(-1, block_bytes(kind))

    def placed(values: Any) -> Floats:
        return np.ascontiguousarray(values.reshape(rows, -1).T, np.float32)

    if kind in TABLES:
        return Scales(
            placed(half(blocks[:, :2]) * FORMS[kind].unit), placed(lookup_scales.read(kind, blocks))
        )
    if kind in ("Q4_0", "Q5_0"):
        step = placed(half(blocks[:, :2]))
        return Scales(step, np.ones_like(step))
    if kind == "Q3_K":
        return Scales(placed(half(blocks[:, 108:])), placed(sixteen_scales(blocks[:, 96:108]) - 32.0))
    if kind == "Q6_K":
        return Scales(placed(half(blocks[:, 208:])), placed(blocks[:, 192:208].view(np.int8)))
    if kind == "Q2_K":
        scales, mins = blocks[:, :16] & 15, blocks[:, :16] >> 4
        steps = half(blocks[:, 80:82]), half(blocks[:, 82:84])
    else:
        scales, mins = six_bits(blocks[:, 4:16])
        steps = half(blocks[:, :2]), half(blocks[:, 2:4])
    return Scales(placed(steps[0]), placed(scales), placed(steps[1]), placed(mins))


def written(kind: str, raw: Bytes, scales: Scales) -> Bytes:
    """Return the tensor's bytes with other scales and the same codes."""
    import numpy as np

    blocks = raw.reshape(-1, block_bytes(kind)).copy()
    groups = block_weights(kind) // FORMS[kind].group

    def integers(values: Floats, offset: int = 0) -> Any:
        return (values.T.reshape(-1, groups) + offset).astype(np.int16)

    def halves(values: Floats) -> Bytes:
        return np.ascontiguousarray(values.T.reshape(-1, 1), "<f2").view(np.uint8)

    if kind in TABLES:
        blocks[:, :2] = halves(scales.step / np.float32(FORMS[kind].unit))
        lookup_scales.write(kind, blocks, integers(scales.integers))
    elif kind in ("Q4_0", "Q5_0"):
        blocks[:, :2] = halves(scales.step)
    elif kind == "Q3_K":
        blocks[:, 108:] = halves(scales.step)
        blocks[:, 96:108] = _to_sixteen(integers(scales.integers, 32).astype(np.uint8))
    elif kind == "Q6_K":
        blocks[:, 208:] = halves(scales.step)
        blocks[:, 192:208] = integers(scales.integers).astype(np.int8).view(np.uint8)
    else:
        assert scales.low is not None and scales.lows is not None
        pair = (integers(one).astype(np.uint8) for one in (scales.integers, scales.lows))
        first, second = pair
        start = 80 if kind == "Q2_K" else 0
        blocks[:, start : start + 2], blocks[:, start + 2 : start + 4] = (
            halves(scales.step),
            halves(scales.low),
        )
        if kind == "Q2_K":
            blocks[:, :16] = first | second << 4
        else:
            blocks[:, 4:16] = _to_six(first, second)
    return blocks.reshape(raw.shape)


def _to_sixteen(scales: Bytes) -> Bytes:
    """Pack sixteen 6-bit scales into 12 bytes: the inverse of `codes.sixteen_scales`."""
    import numpy as np

    low = scales[:, :8] & 15 | (scales[:, 8:] & 15) << 4
    twos = scales.reshape(-1, 4, 4) >> 4 << np.array([0, 2, 4, 6], np.uint8)[:, None]
    return np.concatenate([low, np.bitwise_or.reduce(twos, 1)], 1)


def _to_six(scales: Bytes, mins: Bytes) -> Bytes:
    """Pack eight 6-bit scales and eight 6-bit minimums into 12 bytes: the inverse of `codes.six_bits`."""
    import numpy as np

    first = scales[:, :4] | scales[:, 4:] >> 4 << 6
    second = mins[:, :4] | mins[:, 4:] >> 4 << 6
    third = scales[:, 4:] & 15 | (mins[:, 4:] & 15) << 4
    return np.concatenate([first, second, third], 1)
