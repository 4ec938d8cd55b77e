"""Samples of a graph, handed out in batches (worker side).

samples.npz holds an array for each input, samples first, and perhaps `labels`. Texts are padded to the longest of
all; a batch is cut to the longest of its own, as a server would send it.
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
        """The samples that `measure.prepare_graph` left in a folder."""
        import numpy as np

        with np.load(folder / "samples.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        labels = arrays.pop(LABELS, None)
        return cls(arrays, labels)

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(next(iter(self.arrays.values())))

    def around(self, begin: int, size: int) -> Arrays:
        """`size` samples from `begin` on, starting over at the end."""
        import numpy as np

        return self._cut(np.arange(begin, begin + size) % self.count)

    def _cut(self, rows: NDArray[np.int64]) -> Arrays:
        import numpy as np

        made = {name: array[rows] for name, array in self.arrays.items()}
        mask = made.get(MASK)
        if mask is None or mask.ndim != 2:
            return made
        longest = max(1, int(np.flatnonzero((mask != 0).any(axis=0)).max(initial=0)) + 1)
        padded = mask.shape[1]
        return {
            name: array[:, :longest] if array.ndim > 1 and array.shape[1] == padded else array
            for name, array in made.items()
        }
