"""Turn the user's samples into arrays, once, for every backend alike (worker side, in the original's environment).

Every candidate is then fed these arrays, so that none is judged by how it decodes an image or cuts a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import TextEncoderBackend, require
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import InputError
from edgehone.inputs import samples
from edgehone.model.info import Tensor
from edgehone.worker.backend import load_backend

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.generic]]

# Static ranges settle within a few hundred samples: NNCF's default subset is 300.
CALIBRATION = 256
# Set aside from the evaluation samples where no others are given.
SHARE = 4


def prepare(job: WorkerJob) -> dict[str, Any]:
    """Write evaluation/samples.npz and calibration/samples.npz: the inputs' arrays, samples first, and `labels`.

    args: backend (the module of the reference backend), inputs (the model's, as ModelInfo.to_json has them), task,
    most (evaluation samples), digests (of what is read, for the record), and for images scale, mean, std.
    inputs: model, evaluation, and perhaps calibration; without it a seeded part of the evaluation samples is set
    aside.
    Returns samples and calibration (counts), labelled, pairs (two samples a label).
    Raises InputError for samples that can't be used.
    """
    import numpy as np

    job.progress(0.0, "samples")
    evaluation = _arrays(job, job.inputs["evaluation"])
    rng = np.random.default_rng(0)
    if "calibration" in job.inputs:
        calibration = _arrays(job, job.inputs["calibration"])
        samples.check_disjoint(evaluation, calibration)
    else:
        evaluation, calibration = _split(evaluation, rng)
    samples.check_ranges(evaluation, calibration)
    evaluation = _at_most(evaluation, job.args["most"], rng)
    calibration = _at_most(calibration, CALIBRATION, rng)
    for name, arrays in (("evaluation", evaluation), ("calibration", calibration)):
        (job.out / name).mkdir()
        with (job.out / name / "samples.npz").open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    return {
        "texts": job.args["digests"],
        "samples": _count(evaluation),
        "calibration": _count(calibration),
        "labelled": samples.LABELS in evaluation,
        "pairs": _pairs(evaluation),
    }


def _arrays(job: WorkerJob, path: Path) -> Arrays:
    inputs = [samples.tensor(given) for given in job.args["inputs"]]
    kind = samples.kind_of(path)
    if kind == "arrays":
        made = samples.read_arrays(path)
    elif kind == "images":
        made = _images(path, inputs, job.args)
    else:
        made = _texts(job, path)
    samples.check_arrays(made, inputs, str(path))
    dtypes = {tensor.name: tensor.dtype for tensor in inputs}
    return {name: array.astype(dtypes.get(name, array.dtype), copy=False) for name, array in made.items()}


def _texts(job: WorkerJob, path: Path) -> Arrays:
    """Through the model's own tokenizer. A pair is one input of a classifier, and two of an embedder."""
    import numpy as np

    texts, labels = samples.read_texts(path)
    backend = require(load_backend(job), TextEncoderBackend)
    if job.args["task"] == "feature-extraction" and any(isinstance(text, list) for text in texts):
        if not all(isinstance(text, list) for text in texts):
            raise InputError(f"{path} mixes single texts and pairs; give one kind")
        texts = [part for pair in texts for part in pair]
    made: Arrays = backend.encode_texts(job.inputs["model"], texts)
    wanted = {t["name"] for t in job.args["inputs"]}
    made = {name: array for name, array in made.items() if not wanted or name in wanted}
    if labels is not None:
        whole = all(float(label).is_integer() for label in labels)
        made[samples.LABELS] = np.array(labels, np.int64 if whole else np.float32)
    return made


def _images(folder: Path, inputs: Sequence[Tensor], options: Mapping[str, Any]) -> Arrays:
    """Scaled to the input's height and width; 0–255 times `scale`, less `mean`, over `std`, as the user says."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    tensor, channels, axis = _picture(inputs)
    height, width = (tensor.shape[2], tensor.shape[3]) if axis == 1 else (tensor.shape[1], tensor.shape[2])
    found = samples.images(folder)
    pixels = []
    for path, _ in found:
        try:
            with Image.open(path) as image:
                mode = "L" if channels == 1 else "RGB"
                small = image.convert(mode).resize((int(width or 0), int(height or 0)))
                pixels.append(
                    np.asarray(small, np.float32).reshape(int(height or 0), int(width or 0), channels)
                )
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
            raise InputError(f"{path} is not an image that can be read: {error}") from error
    array = np.stack(pixels)
    if np.dtype(tensor.dtype).kind == "f":
        mean, std = (
            np.asarray(options.get(name, base), np.float32) for name, base in (("mean", 0.0), ("std", 1.0))
        )
        array = (array * float(options.get("scale", 1 / 255)) - mean) / std
    array = array.transpose(0, 3, 1, 2) if axis == 1 else array
    made: Arrays = {tensor.name: np.ascontiguousarray(array.astype(tensor.dtype))}
    if found[0][1] is not None:
        made[samples.LABELS] = np.array([label for _, label in found], np.int64)
    return made


def _picture(inputs: Sequence[Tensor]) -> tuple[Tensor, int, int]:
    """The one input that takes an image, its channels, and which axis they are."""
    if len(inputs) == 1 and len(inputs[0].shape) == 4:
        tensor = inputs[0]
        for axis in (1, 3):
            channels, rest = tensor.shape[axis], [s for i, s in enumerate(tensor.shape) if i not in (0, axis)]
            if channels in (1, 3) and all(isinstance(size, int) for size in rest):
                return tensor, int(channels), axis
    told = "; ".join(f"{t.name} {list(t.shape)}" for t in inputs)
    raise InputError(
        f"a folder of images needs one input of 1 or 3 channels and a fixed height and width; the model has {told}",
        hint="give FILE.npz with the arrays that the model takes",
    )


def _split(arrays: Arrays, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    """A quarter aside for calibration. Pairs stay together."""
    import numpy as np

    groups = _count(arrays) // 2 if _pairs(arrays) else _count(arrays)
    order = rng.permutation(groups)
    aside = min(CALIBRATION, groups // SHARE)
    if groups - aside < samples.LEAST or aside < 1:
        raise InputError(
            f"{groups} samples are too few to set some aside for calibration",
            hint=f"give {samples.LEAST * SHARE} or more, or other samples with --calibrate",
        )
    return _take(arrays, np.sort(order[aside:])), _take(arrays, np.sort(order[:aside]))


def _at_most(arrays: Arrays, most: int, rng: np.random.Generator) -> Arrays:
    import numpy as np

    groups = _count(arrays) // 2 if _pairs(arrays) else _count(arrays)
    return arrays if groups <= most else _take(arrays, np.sort(rng.permutation(groups)[:most]))


def _take(arrays: Arrays, groups: NDArray[np.int64]) -> Arrays:
    """Those groups: samples, or pairs of samples where a label belongs to two."""
    import numpy as np

    rows = np.stack([2 * groups, 2 * groups + 1], 1).ravel() if _pairs(arrays) else groups
    return {name: array[groups if name == samples.LABELS else rows] for name, array in arrays.items()}


def _pairs(arrays: Arrays) -> bool:
    return samples.LABELS in arrays and _count(arrays) == 2 * len(arrays[samples.LABELS])


def _count(arrays: Arrays) -> int:
    return len(next(array for name, array in arrays.items() if name != samples.LABELS))
