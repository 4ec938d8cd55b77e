"""The table of the null backend's model as an artifact stores it: exact, or rounded and packed (worker side)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BOS = 256
VOCABULARY = 257
# The file of an artifact with the likeliest id after each id, 2 bytes each.
LIKELIEST = "likeliest.bin"


def save(folder: Path, table: NDArray[np.float32], bits: int) -> None:
    """Write a table [257, 257] with so many bits an entry; 32 keeps it as it is."""
    import numpy as np

    (folder / "null.json").write_text(json.dumps({"bits": bits}), "utf-8")
    if bits == 32:
        np.save(folder / "table.npy", table)
    else:
        _save_packed(folder / "table.npz", table, bits)
    (folder / LIKELIEST).write_bytes(load(folder, bits).argmax(1).astype(np.uint16).tobytes())


def _save_packed(path: Path, table: NDArray[np.float32], bits: int) -> None:
    import numpy as np

    low = table.min(1, keepdims=True)
    step = (table.max(1, keepdims=True) - low) / (2**bits - 1)
    levels = np.nan_to_num(np.round((table - low) / step)).astype(np.uint8)
    unpacked = np.unpackbits(levels[..., None], axis=-1)[..., 8 - bits :]
    np.savez(path, low=low, step=step, packed=np.packbits(unpacked))


def load(folder: Path, bits: int) -> NDArray[np.float32]:
    """Return the table [257, 257] that `save` wrote with so many bits."""
    import numpy as np

    if bits == 32:
        return np.asarray(np.load(folder / "table.npy"), np.float32)
    stored = np.load(folder / "table.npz")
    count = VOCABULARY * VOCABULARY
    digits = np.unpackbits(stored["packed"])[: count * bits].reshape(count, bits)
    padded = np.concatenate([np.zeros((count, 8 - bits), np.uint8), digits], 1)
    levels = np.packbits(padded, axis=1).reshape(VOCABULARY, VOCABULARY)
    return np.asarray(stored["low"] + stored["step"] * levels, np.float32)
