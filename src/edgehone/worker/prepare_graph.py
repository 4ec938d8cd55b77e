"""Convert the user's samples to arrays once, for all backends (worker side, in the original's environment).

Every candidate gets these arrays, so that differences in image decoding or tokenization do not affect the results.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import (
    GraphBackend,
    TextEncoderBackend,
    TokenizerBackend,
    capability,
    require,
)
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import InputError, ModelError
from edgehone.inputs import coco, proven, sample_arrays, sample_files, samples
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import LENGTHS, Batches, stretched
from edgehone.model.encoder_decoder import SPEECH, TASKS, decoding
from edgehone.model.info import Tensor
from edgehone.worker.backend import load_backend
from edgehone.worker.decode import with_texts
from edgehone.worker.image_arrays import final_size, image_array, image_input, image_size
from edgehone.worker.original_tokenizer import OriginalTokenizer
from edgehone.worker.sound_arrays import sound_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.generic]]

# Maximum number of calibration samples. Activation ranges converge within a few hundred: NNCF's default is 300.
CALIBRATION = 256
# Activation ranges of fewer samples than this are not used if the evaluation can spare more.
LEAST_CALIBRATION = 8
# Without calibration samples, one in this many evaluation samples is used for calibration.
SHARE = 4
# Texts by which a tokenizer that a bundle carries is compared with the original's.
_PROBES = ("Hello, world!", "The quick brown fox isn't HERE.", "naïve café — 漢字 12.5 %", "a\nb\t c  d")


def prepare(job: WorkerJob) -> dict[str, Any]:
    """Write the folders evaluation and calibration, in the form of `Batches`.

    args: backend (the module of the reference backend), inputs (the model's, in the form of ModelInfo.to_json), axes
    (Axes.to_json), task, most (maximum number of evaluation samples), needed (evaluation samples that the gates need),
    digests (of the files read, for the record), images and audio (how they are prepared: `inputs.preprocessing`,
    `inputs.sound`). inputs: model, evaluation, and optionally calibration; without it a random part of the evaluation
    samples, chosen with a fixed seed, is used for calibration.

    The folder tokenizer gets the tokenizer of an encoder, if the library tokenizers gives the same ids by it.

    Returns texts (the digests), portable (whether there is one), decoding (`Decoding.to_json`, None for other models
    than encoder-decoders), samples and calibration (numbers), labelled, form (the kind of samples), pairs (whether two
    samples share a label), and proven (`inputs.proven.ranges` of the evaluation samples). Raises InputError for samples
    that cannot be used.
    """
    import numpy as np

    job.progress(0.0, "samples")
    evaluation, shared = _arrays(job, job.inputs["evaluation"])
    rng = np.random.default_rng(0)
    if "calibration" in job.inputs:
        calibration, calibration_shared = _arrays(job, job.inputs["calibration"])
        sample_arrays.check_disjoint(evaluation, calibration)
    else:
        evaluation, calibration = _split(evaluation, rng, job.args["needed"])
        calibration_shared = shared
    sample_arrays.check_ranges(evaluation, calibration)
    evaluation = _at_most(evaluation, job.args["most"], rng)
    calibration = _at_most(calibration, CALIBRATION, rng)
    axes = Axes.from_json(job.args["axes"])
    for name, arrays, whole in (
        ("evaluation", evaluation, shared),
        ("calibration", calibration, calibration_shared),
    ):
        (job.out / name).mkdir()
        labels = arrays.get(sample_arrays.LABELS)
        rows = {one: array for one, array in arrays.items() if one != sample_arrays.LABELS}
        Batches(rows, labels, whole, axes).write(job.out / name)
    inputs = [samples.tensor(one) for one in job.args["inputs"]]
    measured = {
        name: array for name, array in evaluation.items() if name not in (sample_arrays.LABELS, LENGTHS)
    }
    return {
        "texts": job.args["digests"],
        "portable": job.args["task"] in ("feature-extraction", *TASKS) and _carried_tokenizer(job),
        "decoding": decoding(job.inputs["model"]).to_json() if job.args["task"] in TASKS else None,
        "samples": _count(evaluation),
        "calibration": _count(calibration),
        "labelled": sample_arrays.LABELS in evaluation,
        "form": samples.kind_of(job.inputs["evaluation"]),
        "pairs": _pairs(evaluation),
        "proven": proven.ranges(Batches(measured, None, shared, axes), inputs),
    }


def _arrays(job: WorkerJob, path: Path) -> tuple[Arrays, Arrays]:
    """Return the inputs' arrays, samples first, with `labels` if they are given; and the arrays that samples share."""
    inputs = [samples.tensor(description) for description in job.args["inputs"]]
    kind, axes = samples.kind_of(path), Axes.from_json(job.args["axes"])
    if kind == "arrays":
        arrays = samples.read_arrays(path)
    elif kind == "images":
        arrays = _images(path, inputs, job.args)
    elif kind == "sounds":
        arrays = _sounds(path, inputs, job.args)
    else:
        arrays = _texts(job, path)
    if job.args["task"] in TASKS and kind != "arrays":
        arrays = _generated(job, arrays)
    sample_arrays.check_arrays(arrays, inputs, str(path), axes)
    found = Batches.arranged(sample_arrays.typed(arrays, inputs), axes)
    labels = {} if found.labels is None else {sample_arrays.LABELS: _for_steps(found, axes)}
    lengths = {} if found.lengths is None else {LENGTHS: found.lengths}
    return {**found.arrays, **lengths, **labels}, found.shared


def _for_steps(found: Batches, axes: Axes) -> NDArray[np.generic]:
    """Return the labels; those of each step of sequences of unequal length as their outputs are judged."""
    import numpy as np

    assert found.labels is not None
    labels = found.labels
    lengths = found.lengths
    if lengths is None:
        return labels
    steps = next(
        array.shape[(axes.of_input(name) or 0) + 1]
        for name, array in found.arrays.items()
        if name not in axes.fed_back
    )
    if labels.ndim < 2 or labels.shape[:2] != (len(lengths), steps):
        return labels
    longest = int(lengths.max())
    return np.stack([row[stretched(int(n), longest)] for row, n in zip(labels, lengths, strict=True)])


def _generated(job: WorkerJob, arrays: Arrays) -> Arrays:
    """Return the arrays of sounds or texts with the ids of the text that the original generates for each."""
    stated = {name: arrays.pop(name) for name in (sample_arrays.LABELS,) if name in arrays}
    backend = require(load_backend(job), GraphBackend)
    session = backend.open_graph(job.inputs["model"], {"dtype": "float32"}, job)
    try:
        return with_texts(session, arrays, decoding(job.inputs["model"])) | stated
    finally:
        session.close()


def _texts(job: WorkerJob, path: Path) -> Arrays:
    """Encode texts with the model's own tokenizer.

    A pair is one input of a classifier, but two inputs of an embedding model.
    """
    import numpy as np

    texts, labels = sample_files.read_texts(path)
    backend = require(load_backend(job), TextEncoderBackend)
    if job.args["task"] == "feature-extraction" and any(isinstance(text, list) for text in texts):
        if not all(isinstance(text, list) for text in texts):
            raise InputError(f"{path} mixes single texts and pairs of texts: give only one of them")
        texts = [part for pair in texts for part in pair]
    arrays: Arrays = backend.encode_texts(job.inputs["model"], texts)
    input_names = {t["name"] for t in job.args["inputs"]}
    arrays = {name: array for name, array in arrays.items() if not input_names or name in input_names}
    if labels is not None:
        integral = all(float(label).is_integer() for label in labels)
        arrays[sample_arrays.LABELS] = np.array(labels, np.int64 if integral else np.float32)
    return arrays


def _carried_tokenizer(job: WorkerJob) -> bool:
    """Write the tokenizer's files, and return whether they give the ids of the original."""
    backend = load_backend(job)
    tokenizers = capability(backend, TokenizerBackend)
    if tokenizers is None:
        return False
    folder = job.out / "tokenizer"
    folder.mkdir()
    try:
        tokenizers.open_tokenizer(job.inputs["model"], job).save(folder)
        found = OriginalTokenizer(folder) if (folder / "tokenizer.json").is_file() else None
    except ModelError:  # the library does not read it
        found = None
    encoder = require(backend, TextEncoderBackend)
    if found and all(_same_ids(found, encoder, job.inputs["model"], text) for text in _PROBES):
        return True
    shutil.rmtree(folder)
    return False


def _same_ids(found: OriginalTokenizer, encoder: TextEncoderBackend, model: Path, text: str) -> bool:
    (ids,) = encoder.encode_texts(model, [text])["input_ids"].tolist()
    return bool(found.tokenize(text) == ids)


def _images(folder: Path, inputs: Sequence[Tensor], options: Mapping[str, Any]) -> Arrays:
    """Return the images as the graph's input, with their boxes or classes as labels."""
    import numpy as np

    labelled_paths = sample_files.images(folder)
    paths = [path for path, _ in labelled_paths]
    name, array = image_array(paths, inputs, options["images"])
    arrays: Arrays = {name: array}
    if (annotations := coco.file_in(folder)) is not None:
        if {"shortest_edge", "crop"} & options["images"].keys():
            raise InputError(
                f"{folder} has boxes, and images that are cropped or resized by their shortest edge move them",
                hint="write size = [height, width] under [images] in edgehone.toml",
            )
        tensor, _, axis = image_input(inputs, options["images"])
        height, width = image_size(tensor, axis, final_size(options["images"]))
        arrays[sample_arrays.LABELS] = coco.boxes(annotations, paths, (width, height))
    elif labelled_paths[0][1] is not None:
        arrays[sample_arrays.LABELS] = np.array([label for _, label in labelled_paths], np.int64)
    return arrays


def _sounds(folder: Path, inputs: Sequence[Tensor], options: Mapping[str, Any]) -> Arrays:
    """Return the sounds as the graph's input, with their classes, or the transcripts of speech, as labels."""
    import numpy as np

    labelled_paths = sample_files.sounds(folder)
    if speech := options["task"] == SPEECH:
        labelled_paths = [(path, None) for path, _ in labelled_paths]
    name, array = sound_array([path for path, _ in labelled_paths], inputs, options["audio"])
    labels = [label for _, label in labelled_paths if label is not None]
    if speech and (stated := sample_files.transcripts([path for path, _ in labelled_paths])):
        return {name: array, sample_arrays.LABELS: np.array(stated)}
    return {name: array} | ({sample_arrays.LABELS: np.array(labels, np.int64)} if labels else {})


def total_for(evaluation: int) -> int:
    """Return how many samples leave `evaluation` of them once the calibration set is taken."""
    return -(-evaluation * SHARE // (SHARE - 1))


def _split(arrays: Arrays, rng: np.random.Generator, needed: int) -> tuple[Arrays, Arrays]:
    """Move one in SHARE samples to the calibration set, keeping pairs together.

    Fewer are moved if that leaves the `needed` ones for evaluation and LEAST_CALIBRATION for calibration.
    """
    import numpy as np

    groups = _count(arrays) // 2 if _pairs(arrays) else _count(arrays)
    order = rng.permutation(groups)
    moved = min(CALIBRATION, groups // SHARE)
    if groups - moved < needed and groups - needed >= LEAST_CALIBRATION:
        moved = groups - needed
    if groups - moved < sample_arrays.MIN_SAMPLES or moved < 1:
        raise InputError(
            f"{groups} samples are too few to use some of them for calibration",
            hint=f"give {sample_arrays.MIN_SAMPLES * SHARE} or more, or separate samples with --calibrate",
        )
    return _take(arrays, np.sort(order[moved:])), _take(arrays, np.sort(order[:moved]))


def _at_most(arrays: Arrays, most: int, rng: np.random.Generator) -> Arrays:
    import numpy as np

    groups = _count(arrays) // 2 if _pairs(arrays) else _count(arrays)
    return arrays if groups <= most else _take(arrays, np.sort(rng.permutation(groups)[:most]))


def _take(arrays: Arrays, groups: NDArray[np.int64]) -> Arrays:
    """Return the selected groups: samples, or pairs of samples where two share a label."""
    import numpy as np

    rows = np.stack([2 * groups, 2 * groups + 1], 1).ravel() if _pairs(arrays) else groups
    return {name: array[groups if name == sample_arrays.LABELS else rows] for name, array in arrays.items()}


def _pairs(arrays: Arrays) -> bool:
    return sample_arrays.LABELS in arrays and _count(arrays) == 2 * len(arrays[sample_arrays.LABELS])


def _count(arrays: Arrays) -> int:
    return len(next(array for name, array in arrays.items() if name != sample_arrays.LABELS))
