"""Samples of a graph, in batches (worker side).

samples.npz holds an array for each input, samples first, and optionally `labels`. Texts are padded to the longest
text of all; a batch is cut to its own longest text, as a server would send it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

LABELS = "labels"
MASK = "attention_mask"


@dataclass(frozen=True)
class Batches:
    """`arrays` [samples, …] by input name; `labels` [samples, …] or None."""

    arrays: Arrays
    labels: NDArray[Any] | None

    @classmethod
    def read(cls, folder: Path) -> Batches:
        """Read the samples that `prepare_graph` wrote to a folder."""
        import numpy as np

        with np.load(folder / "samples.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        labels = arrays.pop(LABELS, None)
        return cls(arrays, labels)

    @property
    def count(self) -> int:
        """The number of samples."""
        return len(next(iter(self.arrays.values())))

    def around(self, begin: int, size: int) -> Arrays:
        """Return `size` samples from index `begin` on, continuing at the first sample after the last."""
        import numpy as np

        return self._select(np.arange(begin, begin + size) % self.count)

    def _select(self, rows: NDArray[np.int64]) -> Arrays:
        """Return the samples at `rows`, without columns that are padding in all of them."""
        import numpy as np

        selected = {name: array[rows] for name, array in self.arrays.items()}
        mask = selected.get(MASK)
        if mask is None or mask.ndim != 2:
            return selected
        longest = max(1, int(np.flatnonzero((mask != 0).any(axis=0)).max(initial=0)) + 1)
        padded = mask.shape[1]
        return {
            name: array[:, :longest] if array.ndim > 1 and array.shape[1] == padded else array
            for name, array in selected.items()
        }
