"""The sizes and values of the inputs that a graph was evaluated with, and what a server takes beyond them.

The memory that a request takes grows with the free sizes of its inputs, and of a graph whose outputs have a size that
depends on the data also with numbers that say how long, or how fast. Neither is known beyond what was evaluated. So a
server takes so many times as much, and refuses the rest before anything is computed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgehone.model.info import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgehone.inputs.batches import Batches

    Array = NDArray[Any]

# An input with more entries a sample holds data, not numbers that say how long or how fast.
_FEW = 16


def ranges(samples: Batches, inputs: Sequence[Tensor]) -> dict[str, Any]:
    """Return the largest sizes and values of the samples, as a bundle's manifest has them.

    sizes: of each input the largest of each axis, None for that of the samples. values: of each input of a fixed size
    with few numbers a sample the least and the most of each number (of their absolute values).
    """
    arrays = {**samples.arrays, **samples.shared}
    axis = {name: samples.axes.of_input(name) for name in arrays}
    fixed = {one.name for one in inputs if one.ranked and _fixed(one, axis.get(one.name))}
    values = {
        name: found
        for name, array in arrays.items()
        if name in fixed and (found := _values(array, name in samples.arrays)) is not None
    }
    sizes = {name: _sizes(array, name in samples.arrays, axis[name]) for name, array in arrays.items()}
    return {"sizes": sizes, "values": values}


def size_depends(inputs: Sequence[Tensor], outputs: Sequence[Tensor], axes: Mapping[str, int | None]) -> bool:
    """Return True if an output has a free size that is no input's, and not the number of samples.

    `axes` are those of the samples by output.
    """
    known = {size for one in inputs for size in one.shape if isinstance(size, str)}
    return any(
        not isinstance(size, int) and size not in known and at != axes.get(one.name, 0)
        for one in outputs
        for at, size in enumerate(one.shape)
    )


def _sizes(array: Array, of_samples: bool, axis: int | None) -> list[int | None]:
    """Return the size of each axis in the layout of the graph's input; arrays of samples have these first."""
    if not of_samples:
        return [int(size) for size in array.shape]
    sizes: list[int | None] = [int(size) for size in array.shape[1:]]
    sizes.insert(axis or 0, None)
    return sizes


def _fixed(one: Tensor, axis: int | None) -> bool:
    return all(isinstance(size, int) for at, size in enumerate(one.shape) if at != axis)


def _values(array: Array, of_samples: bool) -> dict[str, list[float]] | None:
    import numpy as np

    rows = np.abs(array.reshape(len(array) if of_samples else 1, -1).astype(np.float64))
    if array.dtype.kind not in "fiu" or rows.shape[1] > _FEW or not np.isfinite(rows).all():
        return None
    return {"least": rows.min(0).tolist(), "most": rows.max(0).tolist()}


def beyond_sizes(
    proven: Mapping[str, Any], name: str, shape: Sequence[int], free: Collection[int], times: float
) -> str | None:
    """Return why an input of that shape is larger than what is taken, None if it is not; `free` are its free axes."""
    for axis, (size, largest) in enumerate(zip(shape, proven.get("sizes", {}).get(name, ()), strict=False)):
        if largest is not None and axis in free and size > times * largest:
            return (
                f"the input {name!r} has {size} entries along axis {axis}: at most {int(times * largest)} are taken, "
                f"{times:g} times what the model was evaluated with"
            )
    return None


def beyond_values(
    proven: Mapping[str, Any], name: str, array: Array, axis: int | None, times: float
) -> str | None:
    """Return which number of an input is out of the range that is taken, None if none is.

    A number that was 0 in all samples has no limit; whole numbers have none below.
    """
    import numpy as np

    found = proven.get("values", {}).get(name)
    if found is None:
        return None
    rows = np.moveaxis(array, axis, 0) if axis is not None else array[None]
    rows = np.abs(rows.reshape(len(rows), -1).astype(np.float64))
    for at, (least, most) in enumerate(zip(found["least"], found["most"], strict=True)):
        low, high = least / times if array.dtype.kind == "f" else 0.0, times * most
        wrong = rows[:, at][~((rows[:, at] >= low) & (rows[:, at] <= high))]
        if most > 0 and wrong.size:
            given = f"{least:g}" if least == most else f"{least:g} to {most:g}"
            return (
                f"the input {name!r} has {wrong[0]:g} at index {at}: {low:g} to {high:g} are taken, since the model "
                f"was evaluated with {given} and the size of its outputs depends on such numbers"
            )
    return None
