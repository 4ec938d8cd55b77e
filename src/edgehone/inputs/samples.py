"""The samples that a graph is judged and calibrated on: what the user may give, and what is checked before any build.

    FILE.npz      an array for each input, samples first; perhaps `labels`
    FOLDER        images; where they lie in folders of their own, each folder is a class, in the order of the names
    FILE.jsonl    {"text": "…"} or {"text": ["…", "…"]} (a pair), perhaps "label": for encoders
    FILE.txt      one text a line: for encoders

Arrays are read here; images and texts are turned into arrays by `measure.prepare_graph`, in a worker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgehone.core.errors import InputError
from edgehone.model.info import ModelInfo, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

Kind = Literal["arrays", "images", "texts"]
LABELS = "labels"
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
# Fewer samples than this give no interval that means something.
LEAST = 8
# Calibration data in another unit (0–255 against 0–1) ruins every static range; ranges of one source differ less.
RANGES_APART = 16.0

_WHAT = "give FILE.npz (an array for each input), a folder of images, FILE.jsonl or FILE.txt (texts)"


def kind_of(path: Path) -> Kind:
    """How a path is read. InputError for what is missing or of another kind."""
    if path.is_dir():
        return "images"
    if not path.exists():
        raise InputError(f"no such samples: {path}", hint=_WHAT)
    kinds: dict[str, Kind] = {".npz": "arrays", ".jsonl": "texts", ".txt": "texts"}
    if path.suffix.lower() not in kinds:
        raise InputError(f"{path} is not a kind of samples that is known", hint=_WHAT)
    return kinds[path.suffix.lower()]


def check(path: Path, model: ModelInfo) -> None:
    """Refuse samples that can't be used, with InputError, before anything slow begins."""
    kind = kind_of(path)
    if kind == "arrays":
        check_arrays(read_arrays(path), model.inputs, str(path))
    elif kind == "images":
        if len(images(path)) < LEAST:
            raise _too_few(path, len(images(path)), "images")
    else:
        if model.format != "huggingface":
            raise InputError(
                f"{path} holds texts, and {model.path} has no tokenizer",
                hint="give FILE.npz with an array for each input",
            )
        if len(texts := read_texts(path)[0]) < LEAST:
            raise _too_few(path, len(texts), "texts")


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an npz file. InputError for a file that isn't one, or holds pickled objects."""
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read as npz: {error}", hint="write it with numpy.savez(FILE, NAME=array, …)"
        ) from error


def tensor(given: Mapping[str, Any]) -> Tensor:
    """A tensor as ModelInfo.to_json has it."""
    return Tensor(given["name"], given["dtype"], tuple(given["shape"]))


def check_arrays(
    arrays: Mapping[str, Array], inputs: Sequence[Tensor], where: str, least: int = LEAST
) -> None:
    """Names, types, shapes, equal counts, finite numbers. InputError with the offending value."""
    given = {name: array for name, array in arrays.items() if name != LABELS}
    wanted = {tensor.name: tensor for tensor in inputs}
    if wanted and given.keys() != wanted.keys():
        raise InputError(
            f"{where} has arrays {_names(given)}, the model's inputs are {_names(wanted)}",
            hint="name each array as the input that it is for; `labels` may stand beside them",
        )
    if not given:
        raise InputError(f"{where} holds no array for an input", hint=_WHAT)
    for name, array in arrays.items():
        if array.ndim == 0:
            raise InputError(
                f"{where}: {name} is a single number, not an array with samples first", hint=_WHAT
            )
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1 and not _paired(counts):
        told = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise InputError(
            f"{where}: the arrays hold different numbers of samples ({told})",
            hint="in every array the first axis counts the samples",
        )
    if (count := len(next(iter(given.values())))) < least:
        raise _too_few(Path(where), count, "samples")
    for name, array in given.items():
        if name in wanted:
            _check_array(name, array, wanted[name], where)
        _check_finite(name, array, where)
    if LABELS in arrays:
        if arrays[LABELS].dtype.kind not in "biuf":
            raise InputError(
                f"{where}: labels are {arrays[LABELS].dtype}, not numbers",
                hint="number the classes from 0, in the order of the model's outputs",
            )
        _check_finite(LABELS, arrays[LABELS], where)


def _paired(counts: Mapping[str, int]) -> bool:
    """Two samples a label: the texts of a pair, to be compared."""
    rest = {count for name, count in counts.items() if name != LABELS}
    return LABELS in counts and rest == {2 * counts[LABELS]}


def _check_array(name: str, array: Array, tensor: Tensor, where: str) -> None:
    import numpy as np

    shape = tensor.shape
    fits = array.ndim == len(shape) and all(
        not isinstance(size, int) or index == 0 or size == array.shape[index]
        for index, size in enumerate(shape)
    )
    if shape and not fits:
        raise InputError(
            f"{where}: {name} has the shape {list(array.shape)}, the model takes {_shape(shape)}",
            hint="samples come first, then the rest of the input's shape",
        )
    if array.dtype != np.dtype(tensor.dtype) and not np.can_cast(array.dtype, tensor.dtype, "same_kind"):
        raise InputError(
            f"{where}: {name} is {array.dtype}, the model takes {tensor.dtype}",
            hint=f"scale and convert it as the model was trained: {name}.astype('{tensor.dtype}')",
        )
    _check_range(name, array, tensor.dtype, where)


def _check_range(name: str, array: Array, dtype: str, where: str) -> None:
    """Refuse numbers that the model's type cannot hold: an integer would wrap, a float become infinite."""
    import numpy as np

    if np.can_cast(array.dtype, dtype):
        return
    ends = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    # NaN and infinity are refused as such.
    beyond = np.isfinite(array) & (np.less(array, ends.min) | np.greater(array, ends.max))
    if beyond.any():
        place = tuple(int(index) for index in np.argwhere(beyond)[0])
        raise InputError(
            f"{where}: {name} holds {array[place]} in sample {place[0]}, "
            f"the model takes {dtype}: {ends.min} to {ends.max}",
            hint="scale it as the model was trained",
        )


def _check_finite(name: str, array: Array, where: str) -> None:
    import numpy as np

    if array.dtype.kind == "f" and not np.isfinite(array).all():
        first = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
        raise InputError(
            f"{where}: {name} holds NaN or infinity, first in sample {first}",
            hint="leave such samples out, or look at how they were made",
        )


def check_ranges(evaluation: Mapping[str, Array], calibration: Mapping[str, Array]) -> None:
    """Refuse calibration samples that are in another unit than the evaluation's."""
    import numpy as np

    for name, array in evaluation.items():
        other = calibration.get(name)
        if name == LABELS or other is None or array.dtype.kind != "f":
            continue
        widths = [float(np.percentile(np.abs(one), 99)) for one in (array, other)]
        if min(widths) > 0 and max(widths) / min(widths) > RANGES_APART:
            raise InputError(
                f"the calibration samples of {name} span ±{widths[1]:.3g}, the evaluation samples ±{widths[0]:.3g}",
                hint="scale both alike: a range that is calibrated wrong ruins every quantized candidate",
            )


def check_disjoint(evaluation: Mapping[str, Array], calibration: Mapping[str, Array]) -> None:
    """Refuse samples that are in both: quality must be read on what no build has seen."""
    seen = {_row(evaluation, i) for i in range(_count(evaluation))}
    shared = sum(_row(calibration, i) in seen for i in range(_count(calibration)))
    if shared:
        raise InputError(
            f"{shared} of {_count(calibration)} calibration samples are evaluation samples too",
            hint="give other samples with --calibrate, or leave it out: a part of --eval is then set aside",
        )


def images(folder: Path) -> list[tuple[Path, int | None]]:
    """The image files below a folder with their class, None where all lie in the folder itself."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES and path.is_file())
    classes = sorted({path.parent for path in found})
    if classes in ([], [folder]):
        return [(path, None) for path in found]
    if folder in classes:
        raise InputError(
            f"{folder} holds images beside folders of images: it is not clear what the classes are",
            hint="put every image in the folder of its class, or all in one folder",
        )
    return [(path, classes.index(path.parent)) for path in found]


def read_texts(path: Path) -> tuple[list[str | list[str]], list[float] | None]:
    """Texts (or pairs) and their labels, all or none. InputError with the line that is wrong."""
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
        raise InputError(f"{path}: {len(known)} of {len(labels)} lines have a label; give all or none")
    return texts, known or None


def _entry(line: str, where: str) -> tuple[str | list[str], float | None]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    text: str | list[str] | None = entry.get("text") if isinstance(entry, dict) else None
    pair = isinstance(text, list) and len(text) == 2 and all(isinstance(part, str) for part in text)
    if text is None or not (isinstance(text, str) or pair):
        raise InputError(f'{where} has no "text" that is a string or two', hint='{"text": "…", "label": 1}')
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
        f"{path} holds {count} {what}: at least {LEAST} are needed",
        hint="fewer give no interval that means much",
    )


def _names(table: Mapping[str, Any]) -> str:
    return ", ".join(sorted(table)) or "none"


def _shape(shape: Sequence[int | str | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
