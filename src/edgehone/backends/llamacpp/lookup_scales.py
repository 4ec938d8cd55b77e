"""The integers of scales in the blocks of ggml's lookup types (worker side).

Four bits s for each group of 16 or 32 weights stand for the odd integer 2s + 1; IQ4_XS has six bits, less 32. Layouts
as in `lookup`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

# Where two scales are in each byte.
_NIBBLES = {"IQ2_XS": slice(66, 74), "IQ2_S": slice(74, 82), "IQ3_S": slice(106, 110), "IQ4_XS": slice(4, 8)}
# Where four bytes have a scale in their last four bits.
_WORDS = {"IQ2_XXS": slice(2, 66), "IQ3_XXS": slice(66, 98)}
_TWOS = range(0, 16, 2)


def read(kind: str, blocks: Bytes) -> Any:
    """Return the integers of blocks [blocks, groups] as int16."""
    import numpy as np

    if kind == "IQ4_NL":
        return np.ones((len(blocks), 1), np.int16)
    if kind in _WORDS:
        return (_words(kind, blocks) >> 28).astype(np.int16) * 2 + 1
    packed = blocks[:, _NIBBLES[kind], None] >> np.array([0, 4], np.uint8) & 15
    four = packed.reshape(len(blocks), -1).astype(np.int16)
    if kind != "IQ4_XS":
        return four * 2 + 1
    high = np.ascontiguousarray(blocks[:, 2:4]).view("<u2") >> np.array(_TWOS, np.uint16) & 3
    return (four | high.astype(np.int16) << 4) - 32


def write(kind: str, blocks: Bytes, integers: Any) -> None:
    """Write integers [blocks, groups] to blocks, in place."""
    import numpy as np

    if kind == "IQ4_NL":
        return
    if kind in _WORDS:
        every = np.ascontiguousarray(blocks[:, _WORDS[kind]]).view("<u4").copy()
        mine = every[:, 1::2] if kind == "IQ2_XXS" else every
        mine &= np.uint32((1 << 28) - 1)
        mine |= (integers >> 1).astype(np.uint32) << 28
        blocks[:, _WORDS[kind]] = every.view(np.uint8)
        return
    four = integers >> 1
    if kind == "IQ4_XS":
        six = integers + 32
        four, high = six & 15, (six >> 4).astype(np.uint16) << np.array(_TWOS, np.uint16)
        blocks[:, 2:4] = np.bitwise_or.reduce(high, 1)[:, None].astype("<u2").view(np.uint8)
    pair = four.astype(np.uint8).reshape(len(blocks), -1, 2)
    blocks[:, _NIBBLES[kind]] = pair[:, :, 0] | pair[:, :, 1] << 4


def _words(kind: str, blocks: Bytes) -> Any:
    import numpy as np

    every = np.ascontiguousarray(blocks[:, _WORDS[kind]]).view("<u4")
    return every[:, 1::2] if kind == "IQ2_XXS" else every
