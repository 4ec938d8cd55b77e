"""Outputs whose size depends on the data: a sound as long as its text takes to say, as many boxes as are found.

Their rows are stored with zeros up to the largest, so that they are one array, and the sizes are an array of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Arrays = dict[str, Array]

# Ends the name of the array [samples, axes] with the sizes of each sample of an output.
_SIZES = " (size)"


def sizes_name(name: str) -> str:
    """Return the name of the sizes of an output."""
    return name + _SIZES


def sized_output(name: str) -> str | None:
    """Return the output whose sizes an array of this name holds; None if it is an output itself."""
    return name.removesuffix(_SIZES) if name.endswith(_SIZES) else None


def joined(name: str, parts: Sequence[Array], with_sizes: bool = False) -> Arrays:
    """Return an output's rows of all batches, [rows, …] each, as one array by its name.

    Where they differ in size, or `with_sizes`, the array of sizes is returned as well. Raises InputError if the numbers
    of axes differ.
    """
    import numpy as np

    shapes = {part.shape[1:] for part in parts}
    if len(ranks := sorted({len(shape) for shape in shapes})) > 1:
        raise InputError(
            f"the output {name!r} has {ranks[0]} axes beside the samples for some of them and {ranks[-1]} for others",
            hint=f"name its axes: --axes {name}=rows,columns (one of them called batch, if it holds the samples)",
        )
    if len(shapes) == 1 and not with_sizes:
        return {name: np.concatenate(parts)}
    largest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    sizes = np.concatenate([np.tile(part.shape[1:], (len(part), 1)) for part in parts])
    padded = np.concatenate([_padded(part, largest) for part in parts])
    return {name: padded, sizes_name(name): sizes.astype(np.int64)}


def aligned(
    reference: Mapping[str, Array], candidate: Mapping[str, Array], padded: Collection[str] = ()
) -> tuple[Arrays, Arrays]:
    """Return the outputs of both, those of unequal size brought to the larger of the two, with the sizes of both.

    Those in `padded` have zeros behind their entries, which mean silence, or no box; they may be of one size in the
    original and of others in the candidate. The entries of others are stretched: each stands for as many as the others
    of its sample, or one more, so that samples count alike.
    """
    ours, theirs = dict(reference), dict(candidate)
    for name in reference:
        unequal = sizes_name(name) in reference
        if sized_output(name) is not None or name not in candidate or not (unequal or name in padded):
            continue
        sides = (reference, candidate)
        sizes = [sizes_of(one, name) for one in sides]
        if reference[name].ndim != candidate[name].ndim or (not unequal and (sizes[0] == sizes[1]).all()):
            continue
        largest = tuple(map(max, reference[name].shape[1:], candidate[name].shape[1:]))
        ours[name], theirs[name] = (
            _padded(one[name], largest) if name in padded else _stretched(one[name], each, largest)
            for one, each in zip(sides, sizes, strict=True)
        )
        ours[sizes_name(name)], theirs[sizes_name(name)] = sizes
    return ours, theirs


def sizes_of(outputs: Mapping[str, Array], name: str) -> Array:
    """Return the sizes [samples, axes] of an output, which are all alike if they are not kept."""
    import numpy as np

    rows = outputs[name]
    kept: Array = outputs.get(sizes_name(name), np.tile(rows.shape[1:], (len(rows), 1)))
    return kept


def _stretched(rows: Array, sizes: Array, largest: tuple[int, ...]) -> Array:
    """Return the rows of an output with each sample's own entries at all places; zeros where it has none."""
    import numpy as np

    found = np.zeros((len(rows), *largest), rows.dtype)
    for at, own in enumerate(sizes):
        if own.all():
            places = (np.arange(most) * size // most for size, most in zip(own, largest, strict=True))
            found[at] = rows[at][np.ix_(*places)]
    return found


def _padded(rows: Array, sizes: tuple[int, ...]) -> Array:
    """Return [rows, …] with zeros behind the entries of each axis up to `sizes`; the rows themselves if they fit."""
    import numpy as np

    if rows.shape[1:] == sizes:
        return rows
    missing = [(0, size - has) for has, size in zip(rows.shape[1:], sizes, strict=True)]
    return np.pad(rows, [(0, 0), *missing])
