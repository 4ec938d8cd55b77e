"""Turn images or sounds into the array of a graph's input, for `edgehone run` (worker side)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import InputError
from edgehone.inputs import sample_files, samples
from edgehone.worker.image_arrays import image_array
from edgehone.worker.sound_arrays import sound_array

# The files of each kind in a folder, their endings, and what makes an array of them.
_KINDS: Mapping[
    str, tuple[Callable[[Path], Sequence[tuple[Path, Any]]], Sequence[str], Callable[..., Any]]
] = {
    "images": (sample_files.images, sample_files.IMAGES, image_array),
    "audio": (sample_files.sounds, sample_files.SOUNDS, sound_array),
}


def convert(job: WorkerJob) -> dict[str, Any]:
    """Write a file, or all files of a folder, as an array for the graph's input to the npz file args["output"].

    args: inputs (the model's, in the form of ModelInfo.to_json), preprocessing (the bundle's), output. inputs: files.
    Returns files, the names in the order of the samples. Raises InputError for files of another kind.
    """
    import numpy as np

    ((kind, options),) = job.args["preprocessing"].items()
    find, endings, array_of = _KINDS[kind]
    given = job.inputs["files"]
    paths = [path for path, _ in find(given)] if given.is_dir() else [given]
    if not paths:
        raise InputError(
            f"{given} holds no files of the bundle's kind", hint=f"give files ending in {', '.join(endings)}"
        )
    name, array = array_of(paths, [samples.tensor(one) for one in job.args["inputs"]], options)
    with Path(job.args["output"]).open("wb") as file:
        np.savez(file, **{name: array})
    return {"files": [path.name for path in paths]}
