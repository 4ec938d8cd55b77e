"""The samples that a graph is evaluated and calibrated on: supported forms, and checks before any build.

    FILE.npz      an array for each input, in the layout of the graph (see `inputs.axes`); optionally `labels`
    FOLDER        images; if they are in subfolders, each subfolder is a class, in the order of the names; with boxes
                  in COCO's format in FOLDER/annotations.json
    FOLDER        sounds (WAV), with classes as for images; for a model that recognizes speech, transcripts in files of
                  the same names that end in .txt, or none
    FILE.jsonl    {"text": "…"} or {"text": ["…", "…"]} (a pair), optionally with "label": for encoders
    FILE.txt      one text per line: for encoders

Arrays are read here; images, sounds and texts are converted to arrays by `worker.prepare_graph`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgehone.core.errors import InputError
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import LENGTHS, has_lengths
from edgehone.model.info import ModelInfo, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

Kind = Literal["arrays", "images", "sounds", "texts"]
LABELS = "labels"
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SOUNDS = (".wav",)
# Fewest samples for a meaningful confidence interval.
MIN_SAMPLES = 8
# Calibration data in another unit (0–255 instead of 0–1) makes all static ranges wrong. Ranges of data from one
# source differ by less than this factor.
MAX_RANGE_RATIO = 16.0

_NPZ = "write it with numpy.savez(FILE, NAME=array, …)"
_FORMS = (
    "give FILE.npz (an array for each input), a folder of images or WAV files, FILE.jsonl or FILE.txt (texts)"
)


def kind_of(path: Path) -> Kind:
    """Return how a path is read. Raises InputError if it is missing or of another kind."""
    if path.is_dir():
        sounds = any(one.suffix.lower() in SOUNDS for one in path.rglob("*"))
        return "sounds" if sounds and not images(path) else "images"
    if not path.exists():
        raise InputError(f"no such samples: {path}", hint=_FORMS)
    kinds: dict[str, Kind] = {".npz": "arrays", ".jsonl": "texts", ".txt": "texts"}
    if path.suffix.lower() not in kinds:
        raise InputError(f"{path} is not a supported kind of samples", hint=_FORMS)
    return kinds[path.suffix.lower()]


def check(path: Path, model: ModelInfo, axes: Axes) -> None:
    """Raise InputError for samples that cannot be used, before anything slow starts."""
    kind = kind_of(path)
    if kind == "arrays":
        check_arrays(read_arrays(path), model.inputs, str(path), axes)
    elif kind in ("images", "sounds"):
        if (count := len(images(path) if kind == "images" else sounds(path))) < MIN_SAMPLES:
            raise _too_few(path, count, kind)
    else:
        if model.format != "huggingface":
            raise InputError(
                f"{path} holds texts, but {model.path} has no tokenizer",
                hint="give FILE.npz with an array for each input",
            )
        if len(texts := read_texts(path)[0]) < MIN_SAMPLES:
            raise _too_few(path, len(texts), "texts")


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of an npz file. Raises InputError for other files and for pickled objects."""
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as npz: {error}", hint=_NPZ) from error


def names_of(path: Path) -> frozenset[str]:
    """Return the names of the arrays of an npz file, without loading them. Raises InputError for other files."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as file:
            return frozenset(name.removesuffix(".npy") for name in file.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as npz: {error}", hint=_NPZ) from error


def tensor(data: Mapping[str, Any]) -> Tensor:
    """Return the tensor from its form in ModelInfo.to_json."""
    return Tensor(data["name"], data["dtype"], tuple(data["shape"]), data.get("ranked", True))


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
            f"{where} holds no array with an axis of samples",
            hint=f"name the axes of an input: --axes {next(iter(expected))}=batch,…" if expected else _FORMS,
        )
    for name, array in samples.items():
        if name in expected:
            _check_shape(name, array, expected[name], where, axes.of_input(name))
            _check_type(name, array, expected[name], where, axes.of_input(name))
        elif array.ndim == 0:
            raise InputError(f"{where}: {name} is a single number, not an array of samples", hint=_FORMS)
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
        raise InputError(f"{where}: {LABELS} is a single number, not an array of samples", hint=_FORMS)
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
        raise _too_few(Path(where), most, "samples")


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
        if name == LABELS or other is None or array.dtype.kind != "f":
            continue
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


def images(folder: Path) -> list[tuple[Path, int | None]]:
    """Return the image files below a folder with their class, None if all are in the folder itself."""
    return _classified(folder, IMAGES, "images")


def sounds(folder: Path) -> list[tuple[Path, int | None]]:
    """Return the WAV files below a folder with their class, None if all are in the folder itself."""
    return _classified(folder, SOUNDS, "sounds")


def transcripts(paths: Sequence[Path]) -> list[str] | None:
    """Return what is said in WAV files by the text files of the same names; None if none has one.

    Raises InputError if some are missing, empty or not UTF-8.
    """
    files = [path.with_suffix(".txt") for path in paths]
    there = [path for path in files if path.is_file()]
    if not there:
        return None
    if len(there) < len(files):
        lacking = next(path for path in files if not path.is_file())
        raise InputError(
            f"{len(there)} of {len(files)} sounds have a transcript, and {lacking} is missing",
            hint="put a text file beside each WAV file, or beside none",
        )
    found = []
    for path in files:
        try:
            found.append(path.read_text("utf-8-sig").strip())
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not UTF-8: byte {error.start}", hint="save it as UTF-8") from error
        if not found[-1]:
            raise InputError(f"{path} is empty", hint="write what is said in the sound, or remove the sound")
    return found


def _classified(folder: Path, suffixes: Sequence[str], what: str) -> list[tuple[Path, int | None]]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    classes = sorted({path.parent for path in files})
    if classes in ([], [folder]):
        return [(path, None) for path in files]
    if folder in classes:
        raise InputError(
            f"{folder} holds both {what} and folders of {what}, so the classes are not clear",
            hint="put every file into the folder of its class, or all into one folder",
        )
    return [(path, classes.index(path.parent)) for path in files]


def read_texts(path: Path) -> tuple[list[str | list[str]], list[float] | None]:
    """Return texts (or pairs) and their labels, or None without labels. Raises InputError with the invalid line."""
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: byte {error.start}", hint="save it as UTF-8") from error
    if path.suffix.lower() == ".txt":
        return list(lines), None
    texts, labels = [], []
    for number, line in enumerate(lines, 1):
        text, label = _entry(line, f"{path}, line {number}")
        texts.append(text)
        labels.append(label)
    known = [label for label in labels if label is not None]
    if known and len(known) < len(labels):
        raise InputError(f"{path}: {len(known)} of {len(labels)} lines have a label; label all or none")
    return texts, known or None


def _entry(line: str, where: str) -> tuple[str | list[str], float | None]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    text: str | list[str] | None = entry.get("text") if isinstance(entry, dict) else None
    pair = isinstance(text, list) and len(text) == 2 and all(isinstance(part, str) for part in text)
    if text is None or not (isinstance(text, str) or pair):
        raise InputError(
            f'{where} has no "text" that is a string or a pair of strings', hint='{"text": "…", "label": 1}'
        )
    label = entry.get("label")
    if label is not None and (isinstance(label, bool) or not isinstance(label, (int, float))):
        raise InputError(f"{where}: the label is {label!r}, not a number")
    return text, label


def _count(arrays: Mapping[str, Array]) -> int:
    return len(next(array for name, array in arrays.items() if name != LABELS))


def _row(arrays: Mapping[str, Array], index: int) -> bytes:
    return b"".join(arrays[name][index].tobytes() for name in sorted(arrays) if name != LABELS)


def _too_few(path: Path, count: int, what: str) -> InputError:
    return InputError(
        f"{path} holds {count} {what}: at least {MIN_SAMPLES} are needed",
        hint="fewer give no meaningful confidence interval",
    )


def _names(table: Mapping[str, Any]) -> str:
    return ", ".join(sorted(table)) or "none"


def _shape(shape: Sequence[int | str | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
