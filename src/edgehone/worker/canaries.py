"""Answer a bundle's canaries with its artifact, so that an engine can later be compared with it (worker side)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import GraphBackend, VisionBackend, require
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import InputError
from edgehone.inputs.batches import Batches
from edgehone.inputs.pictures import generated_pictures
from edgehone.worker import sequences
from edgehone.worker.backend import load_backend
from edgehone.worker.score_pictures import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgehone.inputs.pictures import Picture

    Arrays = dict[str, NDArray[Any]]

FOLDER = "canaries"
_FILE = "samples.npz"
_QUESTION, _ANSWER = "question", "answer"
# A graph has up to so many canaries, as far as all of them take less than so many bytes; one if it alone takes more,
# and none if it takes more than the third number: pictures of 640 × 640 pixels take 5 MB, and every start sends them.
_MOST, _ENOUGH, _LARGEST = 3, 1 << 20, 32 << 20
# The edge in pixels of the pictures of canaries; processors resize them.
_EDGE = 224


def answers(job: WorkerJob) -> dict[str, Any]:
    """Continue prompts greedily, in the session that was scored.

    args: backend, settings, prompts (lists of ids), count (the most tokens of an answer), eos (ids that end a text; an
    answer stops before the first). inputs: artifact, and for a vision-language model pictures (what `prepare_pictures`
    wrote), whose first prompt is then asked about drawn pictures, too. Returns canaries: for each prompt with an answer
    an object with prompt and answer, both ids; with a picture also its file in the folder `canaries`, and the number of
    ids before it, `at`.
    """
    sees = "pictures" in job.inputs
    backend = load_backend(job)
    open_session = require(backend, VisionBackend).open_vision if sees else backend.open_session
    session: Any = open_session(job.inputs["artifact"], job.args["settings"], job)
    count, prompts = job.args["count"], job.args["prompts"]
    found = [{"prompt": prompt, "answer": session.generate(prompt, count).ids} for prompt in prompts]
    for name, picture in _drawn(job) if sees else ():
        before, after = next((before, after) for _, before, after in shown(job))
        answer = session.describe(picture, before, after, count).ids
        found.append({"prompt": [*before, *after], "answer": answer, "picture": name, "at": len(before)})
    session.close()
    ends = set(job.args["eos"])
    for one in found:
        one["answer"] = list(itertools.takewhile(lambda token: token not in ends, one["answer"]))
    return {"canaries": [one for one in found if one["answer"]]}


def _drawn(job: WorkerJob) -> Iterator[tuple[str, Picture]]:
    """Yield two pictures that differ much, with the names of the files that they are written to."""
    from PIL import Image

    (job.out / FOLDER).mkdir()
    for name, picture in zip(("disc.png", "chessboard.png"), generated_pictures(_EDGE)[1:4:2], strict=True):
        Image.fromarray(picture).save(job.out / FOLDER / name)
        yield name, picture


def outputs(job: WorkerJob) -> dict[str, Any]:
    """Run the first samples through a graph, one request after another, in the session that was scored.

    args: backend, settings, batch (the samples of a request: as many as the graph fixes, else 1). inputs: artifact,
    samples (a folder that `Batches.write` filled). Writes what `read` reads into the folder `canaries`. Returns
    canaries (their number) and bytes. Raises InputError if one request and its answer take too many bytes.
    """
    size = job.args["batch"]
    samples = Batches.read(job.inputs["samples"], _MOST * size)
    count = max(1, min(_MOST, samples.count // size))
    backend = require(load_backend(job), GraphBackend)
    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    found: list[tuple[Arrays, Arrays]] = []
    taken = 0
    # All samples together, so that texts are cut to the same length, and the requests can be joined.
    for question in _requests(samples, samples.around(0, count * size), size):
        answer = sequences.runner(session, samples.axes)(question)
        more = sum(array.nbytes for array in (*question.values(), *answer.values()))
        if not found and more > _LARGEST:
            session.close()
            raise InputError(
                f"a request and its answer take {more / 1e6:.0f} MB, more than {_LARGEST / 1e6:.0f} MB"
            )
        if found and taken + more > _ENOUGH:
            break
        found.append((question, answer))
        taken += more
    session.close()
    write(job.out / FOLDER, found)
    return {"canaries": len(found), "bytes": taken}


def _requests(samples: Batches, feeds: Arrays, size: int) -> list[Arrays]:
    """Return requests of `size` samples each, in the layout of the graph's inputs."""
    import numpy as np

    axes = {name: samples.axes.of_input(name) for name in feeds}
    counts = [feeds[name].shape[axis] for name, axis in axes.items() if axis is not None]
    return [
        {
            name: feeds[name] if axis is None else np.take(feeds[name], range(begin, begin + size), axis)
            for name, axis in axes.items()
        }
        for begin in range(0, counts[0], size)
    ]


def write(folder: Path, canaries: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Write requests to a graph with their answers, arrays by name, to a folder."""
    import numpy as np

    named = {
        f"{index}/{part}/{name}": array
        for index, both in enumerate(canaries)
        for part, found in zip((_QUESTION, _ANSWER), both, strict=True)
        for name, array in found.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _FILE).open("wb") as file:
        np.savez_compressed(file, **named)


def read(folder: Path) -> list[tuple[Arrays, Arrays]]:
    """Return the requests to a graph, with their answers, that `write` wrote. Raises InputError for a damaged file."""
    import zipfile

    import numpy as np

    found: dict[int, tuple[Arrays, Arrays]] = {}
    try:
        with np.load(folder / _FILE, allow_pickle=False) as file:
            for key in file.files:
                index, part, name = key.split("/", 2)
                found.setdefault(int(index), ({}, {}))[(_QUESTION, _ANSWER).index(part)][name] = file[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{folder / _FILE} cannot be read: {error}", hint="copy the bundle again") from error
    return [found[index] for index in sorted(found)]
