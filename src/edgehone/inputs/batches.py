"""Samples of a graph, in batches.

samples.npz holds an array for each input, samples first, and optionally `labels`; axes.json says along which axis of
the graph's own inputs and outputs the samples are. Texts are padded to the longest text of all; a batch is cut to its
own longest text, as a server would send it. So are sequences of unequal length, whose steps are in `lengths`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping
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
LENGTHS = "lengths"
MASK = "attention_mask"
SAMPLES = "samples.npz"
AXES = "axes.json"


@dataclass(frozen=True)
class Batches:
    """`arrays` [samples, …] by input name; `labels` [samples, …] or None; `shared` arrays, given to every batch.

    `lengths` [samples] are the steps of sequences that are padded to the longest; None if all are as long.
    """

    arrays: Arrays
    labels: NDArray[Any] | None
    shared: Arrays = field(default_factory=dict)
    axes: Axes = field(default_factory=Axes)
    lengths: NDArray[Any] | None = None

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
        lengths = arrays.pop(LENGTHS, None) if has_lengths(arrays, axes) else None
        shared = {name: arrays.pop(name) for name in list(arrays) if axes.of_input(name) is None}
        return cls(arrays, labels, shared, axes, lengths)

    @classmethod
    def arranged(cls, arrays: Mapping[str, NDArray[Any]], axes: Axes) -> Batches:
        """Return the samples of arrays in the layout of the graph's inputs.

        An array with one sample where others have several is repeated: a state that all start from.
        """
        import numpy as np

        rows = dict(arrays)
        labels = rows.pop(LABELS, None)
        lengths = rows.pop(LENGTHS, None) if has_lengths(rows, axes) else None
        shared = {name: rows.pop(name) for name in list(rows) if axes.of_input(name) is None}
        rows = {name: np.moveaxis(array, axes.of_input(name) or 0, 0) for name, array in rows.items()}
        count = max((len(array) for array in rows.values()), default=0)
        for name, array in rows.items():
            if len(array) == 1:
                rows[name] = np.broadcast_to(array, (count, *array.shape[1:]))
        return cls(rows, labels, shared, axes, lengths)

    def write(self, folder: Path) -> None:
        """Write samples.npz and axes.json."""
        import numpy as np

        labels = {} if self.labels is None else {LABELS: self.labels}
        labels |= {} if self.lengths is None else {LENGTHS: self.lengths}
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

    @property
    def steps(self) -> int:
        """The steps of the longest sequence."""
        return 0 if self.lengths is None else int(self.lengths.max(initial=0))

    def for_timing(self) -> Batches:
        """Return the samples of requests that are timed: of sequences of unequal length those of the median length."""
        import numpy as np

        if self.lengths is None:
            return self
        median = np.sort(self.lengths)[len(self.lengths) // 2]
        rows = np.flatnonzero(self.lengths == median)
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        labels = None if self.labels is None else self.labels[rows]
        return Batches(arrays, labels, self.shared, self.axes, self.lengths[rows])

    def judged(self, outputs: Arrays, begin: int) -> Arrays:
        """Return the `rows` of a batch from sample `begin` on without steps after a sequence's end.

        So that each output stays one array, and each sequence counts alike, the steps of a sequence are stretched to
        the longest one's: each stands for as many of them as the others do, or one more.
        """
        return self._for_each(outputs, begin, lambda length: stretched(length, self.steps))

    def padded(self, outputs: Arrays, begin: int) -> Arrays:
        """Return the `rows` of a batch from sample `begin` on, with zeros after a sequence's end."""
        import numpy as np

        return self._for_each(
            outputs, begin, lambda length: np.r_[np.arange(length), np.full(self.steps - length, -1)]
        )

    def _for_each(self, outputs: Arrays, begin: int, places: Callable[[int], NDArray[np.int64]]) -> Arrays:
        """Return outputs with the steps that stand at `places`, by a sequence's length; -1 stands for zero."""
        import numpy as np

        if self.lengths is None:
            return outputs
        found = {}
        for name, array in outputs.items():
            axis = self.axes.outputs.get(name) or 0  # of the steps, within a sample
            each = []
            for at, row in enumerate(array):
                chosen = places(int(self.lengths[(begin + at) % self.count]))
                taken = np.take(row, np.maximum(chosen, 0), axis)
                np.moveaxis(taken, axis, 0)[chosen < 0] = 0
                each.append(taken)
            found[name] = np.stack(each)
        return found

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
        if self.axes.ends in selected and (self.labels is None or self.labels.ndim < 2):
            return self._cut(selected)  # labels of each step belong to the padded ones
        if self.lengths is not None:
            longest = int(self.lengths[rows].max())
            return {
                name: array
                if name in self.axes.fed_back
                else np.take(array, np.arange(longest), (self.axes.of_input(name) or 0) + 1)
                for name, array in selected.items()
            }
        mask = selected.get(MASK)
        if mask is None or mask.ndim != 2:
            return selected
        longest = max(1, int(np.flatnonzero((mask != 0).any(axis=0)).max(initial=0)) + 1)
        padded = mask.shape[1]
        return {
            name: array[:, :longest] if array.ndim > 1 and array.shape[1] == padded else array
            for name, array in selected.items()
        }

    def _cut(self, selected: Arrays) -> Arrays:
        """Return a batch without the steps that are padding in all of its samples, if there are only zeros."""
        longest = max(1, int(selected[str(self.axes.ends)].max(initial=1)))
        padding = [selected[name][:, longest:] for name in self.axes.padded if name in selected]
        if any(array.any() for array in padding):
            return selected
        return {
            name: array[:, :longest] if name in self.axes.padded else array
            for name, array in selected.items()
        }


def has_lengths(names: Container[str], axes: Axes) -> bool:
    """Return whether the arrays of sequences have their numbers of steps, which is not so if an input is called so."""
    return bool(axes.states) and LENGTHS in names and LENGTHS not in axes.inputs


def stretched(length: int, steps: int) -> NDArray[np.int64]:
    """Return for each of `steps` places the step of a sequence of `length` steps that stands there."""
    import numpy as np

    return np.arange(steps) * length // steps
