"""Numbers that describe the inputs of a graph, computed alike at certification and in the server.

Each sample gives five moments of each input of numbers: mean, standard deviation, smallest, largest, and the mean step
between neighbouring entries, which tells blurred or noisy inputs. An input that holds the ids of a text tokenizer is
read as ids instead; masks and types of ids are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from edgehone.serve.infer.tensor import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

MOMENTS = ("mean", "deviation", "smallest", "largest", "step")
# Of a larger sample every n-th entry is read, and of a batch the first samples, so that the cost is bounded.
_ENTRIES, _SAMPLES = 1 << 14, 8
_IDS, _MASK = "input_ids", "attention_mask"
_NO_NUMBERS = (_IDS, _MASK, "token_type_ids", "position_ids")


class Described(NamedTuple):
    """A sample of a graph: its moments, and its ids if it is a text. None: it has none."""

    features: Sequence[float] | None
    ids: Sequence[int] | None


def names(inputs: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the moments of inputs with these names, in the order of `describe`."""
    return tuple(f"{one} {moment}" for one in sorted(inputs) if one not in _NO_NUMBERS for moment in MOMENTS)


def describe(arrays: Arrays, axes: Mapping[str, int | None]) -> list[Described]:
    """Return the samples of a request, at most 8. `axes` names the axis of the samples of each input.

    Inputs without such an axis belong to all samples and are left out.
    """
    import numpy as np

    rows = {
        name: np.moveaxis(array, axis, 0) if axis else array
        for name, array in arrays.items()
        if (axis := axes.get(name, 0)) is not None and array.ndim > axis
    }
    if not rows:
        return []
    return _described(rows, min(_SAMPLES, max(map(len, rows.values()))))


def describe_all(
    requests: Sequence[Mapping[str, Tensor]], axes: Mapping[str, int | None]
) -> list[list[Described]]:
    """Return what `describe` does of each request. Those of one sample and the same shapes are computed together."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    found: list[list[Described]] = [[] for _ in requests]
    for at, tensors in enumerate(requests):
        key = tuple([(name, one.dtype, one.shape) for name, one in tensors.items()])
        if tensors and (
            key in alike or all(axes.get(name, 0) == 0 and shape[:1] == (1,) for name, _, shape in key)
        ):
            alike.setdefault(key, []).append(at)
        else:
            found[at] = describe({name: one.array for name, one in tensors.items()}, axes)
    for key, places in alike.items():
        rows = {
            name: Tensor(
                name, dtype, (len(places), *shape[1:]), b"".join([requests[at][name].data for at in places])
            ).array
            for name, dtype, shape in key
        }
        for at, one in zip(places, _described(rows, len(places)), strict=True):
            found[at] = [one]
    return found


def _described(rows: Arrays, count: int) -> list[Described]:
    """Return the first samples of inputs that have their samples on the first axis."""
    import numpy as np

    ids = _ids(rows, count)
    tables = [_moments(rows[name], count) for name in sorted(rows) if name not in _NO_NUMBERS]
    if not tables:
        return [Described(None, one) for one in ids]
    features = tables[0] if len(tables) == 1 else np.concatenate(tables, axis=1)
    return [Described(vector, one) for vector, one in zip(features.tolist(), ids, strict=True)]


def _moments(array: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the moments of the first samples, [samples, moments]. An input with one sample belongs to all."""
    import numpy as np

    if array.size == 0:
        return np.zeros((count, len(MOMENTS)))
    flat = array[:count].reshape(min(count, len(array)), -1)
    if flat.shape[1] > _ENTRIES:
        flat = flat[:, :: -(-flat.shape[1] // _ENTRIES)]
    flat = flat.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        step = np.abs(np.diff(flat, axis=1)).mean(1) if flat.shape[1] > 1 else np.zeros(len(flat))
        table = np.stack([flat.mean(1), flat.std(1), flat.min(1), flat.max(1), step], axis=1)
    return np.broadcast_to(table, (count, len(MOMENTS))) if len(table) == 1 else table


def _ids(rows: Arrays, count: int) -> list[list[int] | None]:
    found = rows.get(_IDS)
    if found is None or found.ndim != 2:
        return [None] * count
    mask = rows.get(_MASK)
    if mask is None or mask.shape != found.shape:
        return [row.tolist() for row in found[:count]]
    return [row[used > 0].tolist() for row, used in zip(found[:count], mask[:count], strict=True)]
