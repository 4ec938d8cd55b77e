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

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.inputs.axes import Axes
from edgehone.inputs.sample_arrays import FORMS, MIN_SAMPLES, check_arrays, too_few
from edgehone.inputs.sample_files import SOUNDS, images, read_texts, sounds
from edgehone.model.info import ModelInfo, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

Kind = Literal["arrays", "images", "sounds", "texts"]
_NPZ = "write it with numpy.savez(FILE, NAME=array, …)"


def kind_of(path: Path) -> Kind:
    """Return how a path is read. Raises InputError if it is missing or of another kind."""
    if path.is_dir():
        sounds = any(one.suffix.lower() in SOUNDS for one in path.rglob("*"))
        return "sounds" if sounds and not images(path) else "images"
    if not path.exists():
        raise InputError(why_absent(path, f"no such samples: {path}"), hint=FORMS)
    kinds: dict[str, Kind] = {".npz": "arrays", ".jsonl": "texts", ".txt": "texts"}
    if path.suffix.lower() not in kinds:
        raise InputError(f"{path} is not a supported kind of samples", hint=FORMS)
    return kinds[path.suffix.lower()]


def check(path: Path, model: ModelInfo, axes: Axes) -> None:
    """Raise InputError for samples that cannot be used, before anything slow starts."""
    kind = kind_of(path)
    if kind == "arrays":
        check_arrays(read_arrays(path), model.inputs, str(path), axes)
    elif kind in ("images", "sounds"):
        if (count := len(images(path) if kind == "images" else sounds(path))) < MIN_SAMPLES:
            raise too_few(path, count, kind)
    else:
        if model.format != "huggingface":
            raise InputError(
                f"{path} holds texts, but {model.path} has no tokenizer",
                hint="give FILE.npz with an array for each input",
            )
        if len(texts := read_texts(path)[0]) < MIN_SAMPLES:
            raise too_few(path, len(texts), "texts")


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of an npz file. Raises InputError for other files and for pickled objects."""
    import zipfile

    import numpy as np

    if path.is_file() and not zipfile.is_zipfile(path):  # numpy takes it for pickled objects
        raise InputError(f"{path} cannot be read as npz: it is no zip archive", hint=_NPZ)
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
