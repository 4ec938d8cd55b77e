"""Whether requests to a graph may be joined to one batch, and how (worker side).

A batch is faster than its requests one by one. But the outputs of a sample may depend on the other samples: dynamic
quantization takes its scale from the whole batch, and some graphs compute one result for all. So an engine first runs
the bundle's canaries joined and compares the outputs with those of each alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import EdgehoneError
from edgehone.inputs.axes import Axes, fixed_batch
from edgehone.model.info import Tensor
from edgehone.worker.closeness import Difference, largest
from edgehone.worker.sequences import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Joining:
    """The axes of the samples: of each input (None: the same for all samples) and of each output."""

    inputs: Mapping[str, int | None]
    outputs: Mapping[str, int]

    def rows(self, feeds: Arrays) -> int:
        """Return the number of samples in a request."""
        counts = (feeds[name].shape[axis] for name, axis in self.inputs.items() if axis is not None)
        return int(next(counts))

    def key(self, feeds: Arrays) -> tuple[Any, ...]:
        """Return what must be equal in requests that are joined: all but the number and the values of the samples."""
        return tuple(
            (*array.shape[:axis], *array.shape[axis + 1 :]) if axis is not None else array.tobytes()
            for array, axis in ((feeds[name], axis) for name, axis in self.inputs.items())
        )

    def joined(self, requests: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        """Return one request with the samples of all, which have the same key."""
        import numpy as np

        return {
            name: requests[0][name] if axis is None else np.concatenate([one[name] for one in requests], axis)
            for name, axis in self.inputs.items()
        }

    def parted(self, results: Arrays, counts: Sequence[int]) -> list[dict[str, NDArray[Any]]]:
        """Return the outputs of each request, which have so many samples.

        Raises EdgehoneError for an output with another number of samples than all requests have.
        """
        import numpy as np

        for name, axis in self.outputs.items():
            if results[name].shape[axis] != sum(counts):
                raise EdgehoneError(
                    f"the output {name!r} has the shape {list(results[name].shape)} for {sum(counts)} samples"
                )
        ends = np.cumsum(counts)[:-1]
        parts = {name: np.split(results[name], ends, axis) for name, axis in self.outputs.items()}
        return [{name: parts[name][at] for name in parts} for at in range(len(counts))]


def find_joining(
    run: Run, canaries: Sequence[Arrays], tensors: Sequence[Tensor], axes: Axes
) -> tuple[Joining | None, str]:
    """Return how requests are joined, or None, and a sentence that says how far the outputs differ, or why not.

    `canaries` are requests. One more is made of the first with all fractions doubled, so that a scale that is taken
    from the whole batch changes.
    """
    fixed = fixed_batch(tensors, axes)
    if fixed is not None:
        return None, f"the graph takes batches of exactly {fixed}"
    by_input = {name: axes.of_input(name) for name in canaries[0]}
    if all(axis is None for axis in by_input.values()):
        return None, "the graph has no input that differs from sample to sample"
    doubled = {
        name: array * 2 if array.dtype.kind == "f" and by_input[name] is not None else array
        for name, array in canaries[0].items()
    }
    requests = [*canaries, doubled]
    try:
        alone = [run(one) for one in requests]
        together = run(Joining(by_input, {}).joined(requests))
    except EdgehoneError as error:
        return None, f"the canaries cannot be run in one batch: {error.message}"
    rows = Joining(by_input, {}).rows
    counts = [rows(one) for one in requests]
    outputs = {
        name: _axis([one[name].shape for one in alone], together[name].shape, counts) for name in alone[0]
    }
    if (without := next((name for name, axis in outputs.items() if axis is None), None)) is not None:
        return None, f"the size of no axis of the output {without!r} is the number of samples"
    joining = Joining(by_input, {name: axis for name, axis in outputs.items() if axis is not None})
    found = largest(alone, joining.parted(together, counts))
    if not found.holds:
        return None, f"a sample's outputs depend on the others of its batch: {found.output!r} {_said(found)}"
    return joining, _said(found) if found.value else "the outputs of joined canaries are equal"


def _said(difference: Difference) -> str:
    return f"differs by {difference.value:.2g} in a batch"


def _axis(alone: Sequence[tuple[int, ...]], together: tuple[int, ...], counts: Sequence[int]) -> int | None:
    """Return the only axis along which an output has as many entries as the requests have samples.

    `alone` and `together` are its shapes for each request, and for all in one batch.
    """
    if any(len(shape) != len(together) for shape in alone):
        return None
    found = [
        axis
        for axis, extent in enumerate(together)
        if extent == sum(counts)
        and all(
            shape == (*together[:axis], count, *together[axis + 1 :])
            for shape, count in zip(alone, counts, strict=True)
        )
    ]
    return found[0] if len(found) == 1 else None
