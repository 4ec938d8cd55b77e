"""Kept requests divided into three parts without a passage in common: to evaluate, to calibrate, to compare.

The challenger is optimized with the first two only. Champion and challenger are compared, and the challenger is
certified, on the third, so that it is not praised for what it was made from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgehone.core.errors import InputError, TextError
from edgehone.inputs import texts
from edgehone.inputs.axes import Axes
from edgehone.inputs.sample_arrays import LABELS, MIN_SAMPLES
from edgehone.operate.reoptimize.judged import replace_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

EVALUATION, CALIBRATION, HELD_OUT = "evaluation", "calibration", "held-out"
# Of three requests one goes to each part; texts need more to be evaluated and compared than to calibrate.
_ORDER: Final = (HELD_OUT, EVALUATION, HELD_OUT, CALIBRATION, EVALUATION)
# Characters that each part needs: what `optimize` (inputs/texts.py) and `certify` (certify/scored.py) take at least.
LEAST: Final = {EVALUATION: 8_000, CALIBRATION: 4_000, HELD_OUT: 20_000}
# A line of at least so many characters that occurs in several requests, such as a system prompt, is used once only.
_LINE = 40
# The first tokens of an evaluation text become the canaries of a bundle, in plain. So it begins with this much of the
# shipped text, and no bundle holds a prompt of a user.
_OPENING = 1_500


@dataclass(frozen=True)
class Parts:
    """The files of the parts, with how many requests and characters each has; `notes` say what was left out."""

    files: Mapping[str, str]
    requests: Mapping[str, int]
    notes: tuple[str, ...]

    def path(self, name: str) -> Path:
        """Return the file of a part."""
        return Path(self.files[name])

    def write(self, folder: Path) -> None:
        """Write parts.json."""
        replace_file(folder / "parts.json", json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, folder: Path) -> Parts | None:
        """Return what `write` wrote; None if it did not."""
        try:
            data = json.loads((folder / "parts.json").read_text("utf-8"))
        except FileNotFoundError:
            return None
        return cls(data["files"], data["requests"], tuple(data["notes"]))


def text_parts(prompts: Sequence[str], folder: Path) -> Parts:
    """Write the texts of prompts as three text files. Raises InputError if they are too few for one of them."""
    lines: set[str] = set()
    kept: dict[str, list[str]] = {name: [] for name in LEAST}
    repeated = 0
    for prompt in prompts:
        fresh = [line for line in prompt.splitlines() if len(line) < _LINE or line not in lines]
        repeated += len(prompt.splitlines()) - len(fresh)
        lines.update(line for line in fresh if len(line) >= _LINE)
        if text := "\n".join(fresh).strip():
            kept[_neediest(kept)].append(text)
    opening = texts.shipped("evaluation").read_text("utf-8")[:_OPENING]
    contents = {name: "\n\n".join(found) + "\n" for name, found in kept.items()}
    if short := {name: len(one) for name, one in contents.items() if len(one) < LEAST[name]}:
        name, length = next(iter(short.items()))
        raise InputError(
            f"the {len(prompts)} different kept prompts give {length:,} characters of {name} text; "
            f"{LEAST[name]:,} are needed",
            hint="keep more: edgehone serve … --keep-samples N, and wait for requests",
        )
    contents[EVALUATION] = f"{opening}\n\n{contents[EVALUATION]}"
    try:
        texts.check_disjoint(contents[EVALUATION], contents[CALIBRATION])
    except TextError as error:
        raise InputError(
            f"the kept prompts are too much alike to be divided: {error.message}",
            hint="keep more requests of different users",
        ) from error
    notes = (f"{repeated} lines that occur in several prompts are used once",) if repeated else ()
    files = _written(folder, ".txt", contents, lambda path, text: path.write_text(text, "utf-8"))
    return Parts(files, {name: len(found) for name, found in kept.items()}, notes)


def _neediest(kept: Mapping[str, Sequence[str]]) -> str:
    """Return the part that has the smallest share of the characters that it needs."""
    return min(kept, key=lambda name: sum(map(len, kept[name])) / LEAST[name])


def array_parts(
    requests: Sequence[Arrays],
    labels: Sequence[int | None],
    axes: Axes,
    folder: Path,
    canaries: Sequence[Arrays],
) -> Parts:
    """Write the samples of requests to a graph as three npz files.

    If labels of at least half of the requests are known, only those with a label are used. `canaries` are the inputs of
    the champion's: the evaluation of samples without labels begins with them, since the first ones become the
    challenger's canaries. Raises InputError if there are too few samples.
    """
    import numpy as np

    known = sum(one is not None for one in labels)
    labelled = known > 0 and known * 2 >= len(labels)
    chosen = [
        (arrays, label)
        for arrays, label in zip(requests, labels, strict=True)
        if not labelled or (label is not None and _samples(arrays, axes) == 1)
    ]
    chosen = _different(chosen)
    shapes = [_shape(arrays, axes) for arrays, _ in chosen]
    usual = max(set(shapes), key=shapes.count) if shapes else ()
    fitting = [one for one, shape in zip(chosen, shapes, strict=True) if shape == usual]
    parts: dict[str, list[tuple[Arrays, int | None]]] = {EVALUATION: [], CALIBRATION: [], HELD_OUT: []}
    for at, one in enumerate(fitting):
        parts[_ORDER[at % len(_ORDER)]].append(one)
    counts = {name: sum(_samples(one, axes) for one, _ in found) for name, found in parts.items()}
    if short := [name for name, count in counts.items() if count < MIN_SAMPLES]:
        raise InputError(
            f"the kept requests give {counts[short[0]]} different samples for the {short[0]} part; "
            f"{MIN_SAMPLES} are needed",
            hint="keep more: edgehone serve … --keep-samples N, and wait for requests",
        )
    contents = {}
    for name, found in parts.items():
        head = (
            [] if labelled or name != EVALUATION else [one for one in canaries if _shape(one, axes) == usual]
        )
        arrays = _joined([*head, *(one for one, _ in found)], axes)
        own = {LABELS: np.array([label for _, label in found])} if labelled else {}
        contents[name] = {**arrays, **own}
    left = len(requests) - len(fitting)
    notes = (
        [f"{left} of {len(requests)} requests are repeated, of another shape or without a label"]
        if left
        else []
    )
    notes.append(
        f"labels of {known} of {len(labels)} requests are known: {'used' if labelled else 'too few'}"
    )
    files = _written(folder, ".npz", contents, lambda path, arrays: np.savez(path, **arrays))
    return Parts(files, {name: len(found) for name, found in parts.items()}, tuple(notes))


def _different(requests: Iterable[tuple[Arrays, int | None]]) -> list[tuple[Arrays, int | None]]:
    found = {}
    for arrays, label in requests:
        found[b"".join(arrays[name].tobytes() for name in sorted(arrays))] = arrays, label
    return list(found.values())


def _samples(arrays: Arrays, axes: Axes) -> int:
    sizes = [array.shape[axis] for name, array in arrays.items() if (axis := axes.of_input(name)) is not None]
    return int(max(sizes))


def _shape(arrays: Arrays, axes: Axes) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the shapes of a sample: samples of one shape can be joined."""
    return tuple(
        (name, tuple(size for at, size in enumerate(arrays[name].shape) if at != axes.of_input(name)))
        for name in sorted(arrays)
    )


def _joined(requests: Sequence[Arrays], axes: Axes) -> dict[str, NDArray[Any]]:
    import numpy as np

    found = {}
    for name, first in requests[0].items():
        axis = axes.of_input(name)
        found[name] = first if axis is None else np.concatenate([one[name] for one in requests], axis)
    return found


def _written(
    folder: Path, suffix: str, contents: Mapping[str, Any], write: Callable[[Path, Any], object]
) -> dict[str, str]:
    files = {}
    for name, content in contents.items():
        path = folder / f"{name}{suffix}"
        write(path, content)
        files[name] = str(path)
    return files
