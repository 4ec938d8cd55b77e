"""Samples of a graph, in batches.

samples.npz holds an array for each input, samples first, and optionally `labels`; axes.json says along which axis of
the graph's own inputs and outputs the samples are. Texts are padded to the longest text of all; a batch is cut to its
own longest text, as a server would send it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError
from edgehone.inputs.axes import Axes
from edgehone.inputs.first_rows import first_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

LABELS = "labels"
MASK = "attention_mask"
SAMPLES = "samples.npz"
AXES = "axes.json"


@dataclass(frozen=True)
class Batches:
    """`arrays` [samples, …] by input name; `labels` [samples, …] or None; `shared` arrays, given to every batch."""

    arrays: Arrays
    labels: NDArray[Any] | None
    shared: Arrays = field(default_factory=dict)
    axes: Axes = field(default_factory=Axes)

    @classmethod
    def read(cls, folder: Path, most: int | None = None) -> Batches:
        """Read the samples that `write` wrote to a folder, or the first `most` without loading the others."""
        import numpy as np

        path = folder / AXES
        axes = Axes.from_json(json.loads(path.read_text("utf-8"))) if path.is_file() else Axes()
        if most is None:
            with np.load(folder / SAMPLES, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        else:
            arrays = first_rows(folder / SAMPLES, most, axes.shared)
        labels = arrays.pop(LABELS, None)
        shared = {name: arrays.pop(name) for name in list(arrays) if axes.of_input(name) is None}
        return cls(arrays, labels, shared, axes)

    @classmethod
    def arranged(cls, arrays: Mapping[str, NDArray[Any]], axes: Axes) -> Batches:
        """Return the samples of arrays in the layout of the graph's inputs.

        An array with one sample where others have several is repeated: a state that all start from.
        """
        import numpy as np

        rows = dict(arrays)
        labels = rows.pop(LABELS, None)
        shared = {name: rows.pop(name) for name in list(rows) if axes.of_input(name) is None}
        rows = {name: np.moveaxis(array, axes.of_input(name) or 0, 0) for name, array in rows.items()}
        count = max((len(array) for array in rows.values()), default=0)
        for name, array in rows.items():
            if len(array) == 1:
                rows[name] = np.broadcast_to(array, (count, *array.shape[1:]))
        return cls(rows, labels, shared, axes)

    def write(self, folder: Path) -> None:
        """Write samples.npz and axes.json."""
        import numpy as np

        labels = {} if self.labels is None else {LABELS: self.labels}
        with (folder / SAMPLES).open("wb") as file:
            rows = {name: np.ascontiguousarray(array) for name, array in (self.arrays | labels).items()}
            np.savez(file, **rows, **self.shared)  # type: ignore[arg-type]
        (folder / AXES).write_text(json.dumps(self.axes.to_json()), "utf-8")

    @property
    def count(self) -> int:
        """The number of samples."""
        return len(next(iter(self.arrays.values())))

    def around(self, begin: int, size: int) -> Arrays:
        """Return `size` samples from index `begin` on, continuing at the first sample after the last.

        The arrays have the layout of the graph's inputs.
        """
        import numpy as np

        rows = self._select(np.arange(begin, begin + size) % self.count)
        feeds = {
            name: np.ascontiguousarray(np.moveaxis(array, 0, self.axes.of_input(name) or 0))
            for name, array in rows.items()
        }
        return feeds | self.shared

    def rows(self, outputs: Mapping[str, NDArray[Any]], size: int) -> Arrays:
        """Return the outputs of a batch of `size` samples as [size, …]; one without an axis of samples for each.

        Raises InputError for an output whose axis of samples has another length: nothing is cut or guessed.
        """
        import numpy as np

        found = {}
        for name, array in outputs.items():
            array = np.asarray(array)
            axis = self.axes.of_output(name, array.shape, size)
            if axis is None:
                found[name] = np.broadcast_to(array, (size, *array.shape))
                continue
            if axis >= array.ndim or array.shape[axis] != size:
                raise InputError(
                    f"the output {name!r} has the shape {list(array.shape)} for a batch of {size} samples, so axis "
                    f"{axis} does not hold the samples",
                    hint=f"name its axes: --axes {name}=batch,… (no batch: one array for the whole batch)",
                )
            found[name] = np.moveaxis(array, axis, 0)
        return found

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


def joined(name: str, parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Return an output's rows of all batches as one array.

    Raises InputError if their shapes differ: such outputs cannot be compared sample by sample.
    """
    import numpy as np

    shapes = sorted({part.shape[1:] for part in parts})
    if len(shapes) > 1:
        raise InputError(
            f"the output {name!r} has the shape {list(shapes[0])} for some samples and {list(shapes[-1])} for others: "
            "only outputs of one shape can be compared",
            hint="export the model without this output, or with one of a fixed shape",
        )
    return np.concatenate(parts)
