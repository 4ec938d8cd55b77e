"""Checks of the arrays of samples against the inputs of a graph: names, shapes, types, counts, ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import LENGTHS, has_lengths
from edgehone.model.info import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

LABELS = "labels"
# Fewest samples for a meaningful confidence interval.
MIN_SAMPLES = 8
# Calibration data in another unit (0–255 instead of 0–1) makes all static ranges wrong. Ranges of data from one
# source differ by less than this factor.
MAX_RANGE_RATIO = 16.0
FORMS = (
    "give FILE.npz (an array for each input), a folder of images or WAV files, FILE.jsonl or FILE.txt (texts)"
)


def check_arrays(
    arrays: Mapping[str, Array],
    inputs: Sequence[Tensor],
    where: str,
    axes: Axes,
    least: int = MIN_SAMPLES,
) -> None:
    """Check names, types, shapes, equal counts and finite numbers.

    Raises InputError, with the offending value.
    """
    samples = {name: array for name, array in arrays.items() if name != LABELS}
    lengths = samples.pop(LENGTHS) if has_lengths(samples, axes) else None
    # The first states of sequences may be given.
    first_states = [one for one in inputs if one.name in axes.fed_back and one.name in samples]
    expected = {tensor.name: tensor for tensor in [*axes.of_samples(inputs), *first_states]}
    if expected and samples.keys() != expected.keys():
        raise InputError(
            f"{where} has the arrays {_names(samples)}, but the model's inputs are {_names(expected)}",
            hint="name each array after its input; `labels` is optional",
        )
    rows = {name: axis for name in samples if (axis := axes.of_input(name)) is not None}
    if not rows:
        raise InputError(
            f"{where} holds no array that differs from sample to sample",
            hint=f"name the axes of an input: --axes {next(iter(expected))}=batch,…" if expected else FORMS,
        )
    for name, array in samples.items():
        if name in expected:
            _check_shape(name, array, expected[name], where, axes.of_input(name))
            _check_type(name, array, expected[name], where, axes.of_input(name))
        elif array.ndim == 0:
            raise InputError(f"{where}: {name} is a single number, not an array of samples", hint=FORMS)
        _check_finite(name, array, where, axes.of_input(name))
    _check_counts(arrays, rows, where, least)
    if axes.states:
        moving = {name: axis for name, axis in rows.items() if name not in axes.fed_back}
        _check_steps({name: samples[name].shape[axis + 1] for name, axis in moving.items()}, where)
        if lengths is not None:
            steps = min(samples[name].shape[axis + 1] for name, axis in moving.items())
            _check_lengths(
                lengths, max(samples[name].shape[axis] for name, axis in rows.items()), steps, where
            )
    if LABELS in arrays:
        if arrays[LABELS].dtype.kind not in "biufU":
            raise InputError(
                f"{where}: labels are {arrays[LABELS].dtype}, neither numbers nor texts",
                hint="number the classes from 0, in the order of the model's outputs",
            )
        _check_finite(LABELS, arrays[LABELS], where)


def typed(arrays: Mapping[str, Array], inputs: Sequence[Tensor]) -> dict[str, Array]:
    """Return the arrays in the types of the inputs. Call `check_arrays` first: values must be in range."""
    dtypes = {tensor.name: tensor.dtype for tensor in inputs}
    return {name: array.astype(dtypes.get(name, array.dtype), copy=False) for name, array in arrays.items()}


def _check_counts(arrays: Mapping[str, Array], rows: Mapping[str, int], where: str, least: int) -> None:
    if LABELS in arrays and arrays[LABELS].ndim == 0:
        raise InputError(f"{where}: {LABELS} is a single number, not an array of samples", hint=FORMS)
    counts = {name: arrays[name].shape[axis] for name, axis in rows.items()}
    most = max(counts.values())
    counts = {name: count for name, count in counts.items() if count > 1 or most == 1}  # one is repeated
    counts |= {LABELS: len(arrays[LABELS])} if LABELS in arrays else {}
    if len(set(counts.values())) > 1 and not _paired(counts):
        listing = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise InputError(
            f"{where}: the arrays hold different numbers of samples ({listing})",
            hint="give as many of each; if the samples are along another axis of an input, name its axes with --axes",
        )
    if most < least:
        raise too_few(where, most, "samples")


def _check_lengths(lengths: Array, count: int, steps: int, where: str) -> None:
    hint = f"{LENGTHS}: for each sequence its number of steps, 1 to {steps}, as whole numbers; the rest is padding"
    if lengths.dtype.kind not in "iu" or lengths.shape != (count,):
        raise InputError(
            f"{where}: {LENGTHS} is {lengths.dtype} of shape {list(lengths.shape)}, and there are {count} sequences",
            hint=hint,
        )
    for row, length in enumerate(lengths.tolist()):
        if not 1 <= length <= steps:
            raise InputError(
                f"{where}: {LENGTHS}[{row}] is {length}, the arrays have {steps} steps", hint=hint
            )


def _check_steps(lengths: Mapping[str, int], where: str) -> None:
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        listing = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise InputError(
            f"{where}: the sequences need the same number of steps in every input, at least one ({listing})",
            hint="the axis of steps comes after that of the samples",
        )


def _paired(counts: Mapping[str, int]) -> bool:
    """Return True for two samples per label: the two texts of a pair."""
    rest = {count for name, count in counts.items() if name != LABELS}
    return LABELS in counts and rest == {2 * counts[LABELS]}


def _check_shape(name: str, array: Array, tensor: Tensor, where: str, axis: int | None) -> None:
    shape = tensor.shape
    fits = array.ndim == len(shape) and all(
        not isinstance(size, int) or index == axis or size == array.shape[index]
        for index, size in enumerate(shape)
    )
    if not tensor.ranked and array.ndim > (axis or 0):
        return
    if not fits:
        holds = "one array for all samples" if axis is None else f"axis {axis} holds the samples"
        raise InputError(
            f"{where}: {name} has the shape {list(array.shape)}, but the model takes {_shape(shape)}",
            hint=f"{holds}, and the rest of the shape is the input's; --axes {name}=… names its axes otherwise",
        )


def _check_type(name: str, array: Array, tensor: Tensor, where: str, axis: int | None) -> None:
    import numpy as np

    if array.dtype != np.dtype(tensor.dtype) and not np.can_cast(array.dtype, tensor.dtype, "same_kind"):
        raise InputError(
            f"{where}: {name} is {array.dtype}, but the model takes {tensor.dtype}",
            hint=f"scale and convert it as in the model's training: {name}.astype('{tensor.dtype}')",
        )
    _check_range(name, array, tensor.dtype, where, axis)


def _check_range(name: str, array: Array, dtype: str, where: str, axis: int | None) -> None:
    """Refuse numbers out of range of the input's type: integers would wrap, floats would become infinite."""
    import numpy as np

    if np.can_cast(array.dtype, dtype):
        return
    ends = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    # NaN and infinity are refused by _check_finite.
    beyond = np.isfinite(array) & (np.less(array, ends.min) | np.greater(array, ends.max))
    if beyond.any():
        position = tuple(int(index) for index in np.argwhere(beyond)[0])
        raise InputError(
            f"{where}: {name} holds {array[position]} in {_sample(position, axis)}, "
            f"but the model takes {dtype}: {ends.min} to {ends.max}",
            hint="scale it as in the model's training",
        )


def _check_finite(name: str, array: Array, where: str, axis: int | None = 0) -> None:
    import numpy as np

    if array.dtype.kind == "f" and not np.isfinite(array).all():
        position = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
        raise InputError(
            f"{where}: {name} holds NaN or infinity, first in {_sample(position, axis)}",
            hint="remove such samples, or check how they were produced",
        )


def _sample(position: Sequence[int], axis: int | None) -> str:
    return f"sample {position[axis]}" if axis is not None else f"the entry {list(position)}"


def check_ranges(evaluation: Mapping[str, Array], calibration: Mapping[str, Array]) -> None:
    """Refuse calibration samples that are in another unit than the evaluation samples."""
    import numpy as np

    for name, array in evaluation.items():
        other = calibration.get(name)
        if name == LABELS or other is None or array.dtype.kind != "f" or not (array.size and other.size):
            continue  # an array without entries, such as an empty cache of keys, has no range
        widths = [float(np.percentile(np.abs(one), 99)) for one in (array, other)]
        if min(widths) > 0 and max(widths) / min(widths) > MAX_RANGE_RATIO:
            raise InputError(
                f"the calibration samples of {name} span ±{widths[1]:.3g}, the evaluation samples ±{widths[0]:.3g}",
                hint="scale both alike: with a wrong range, every quantized candidate is inaccurate",
            )


def check_disjoint(evaluation: Mapping[str, Array], calibration: Mapping[str, Array]) -> None:
    """Refuse samples that are in both sets: quality must be measured on samples that no build has used."""
    known = {_row(evaluation, i) for i in range(_count(evaluation))}
    shared = sum(_row(calibration, i) in known for i in range(_count(calibration)))
    if shared:
        raise InputError(
            f"{shared} of {_count(calibration)} calibration samples are also evaluation samples",
            hint="give other samples with --calibrate, or leave it out: part of --eval is then used for calibration",
        )


def _count(arrays: Mapping[str, Array]) -> int:
    return len(next(array for name, array in arrays.items() if name != LABELS))


def _row(arrays: Mapping[str, Array], index: int) -> bytes:
    return b"".join(arrays[name][index].tobytes() for name in sorted(arrays) if name != LABELS)


def _names(table: Mapping[str, Any]) -> str:
    return ", ".join(sorted(table)) or "none"


def _shape(shape: Sequence[int | str | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def too_few(path: object, count: int, what: str) -> InputError:
    """Return the error for fewer samples than a confidence interval needs."""
    return InputError(
        f"{path} holds {count} {what}: at least {MIN_SAMPLES} are needed",
        hint="fewer give no meaningful confidence interval",
    )
