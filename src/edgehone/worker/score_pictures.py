"""Compare a vision-language model's predictions about pictures with the original's (worker side).

Every id after the picture is a position that predicts the next id, with the same ids for every backend. `reference`
stores the original's log-probabilities there and measures how much the picture influences them; `score` compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import VisionBackend, require
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.inputs.pictures import grey
from edgehone.worker.backend import load_backend
from edgehone.worker.logprobs import log_softmax

if TYPE_CHECKING:
    from edgehone.backends.sessions import Logits, VisionSession
    from edgehone.inputs.pictures import Picture


def reference(job: WorkerJob) -> dict[str, Any]:
    """Write the original's log-probabilities: INDEX.npy [positions, vocabulary] float32 for each picture.

    args: backend, settings. inputs: artifact, pictures (what `prepare_pictures` wrote). Returns vocabulary, and
    `matters`: the mean KL divergence (nats) of the original's predictions for a plain grey picture from those for
    the actual one. If it is 0, pictures do not influence the output, and the comparison cannot detect a wrong
    picture encoder.
    """
    import numpy as np

    session = _open(job)
    matters, width = [], 0
    try:
        for index, (picture, before, after) in enumerate(shown(job)):
            logprobs = log_softmax(_checked(session.score_picture(picture, before, after), index, None))
            np.save(job.out / f"{index}.npy", logprobs.astype(np.float32), allow_pickle=False)
            blind = log_softmax(_checked(session.score_picture(grey(picture), before, after), index, None))
            matters.append(float((np.exp(logprobs) * (logprobs - blind)).sum(1).mean()))
            width = logprobs.shape[1]
            job.progress((index + 1) / 8, "pictures")
    finally:
        session.close()
    return {"vocabulary": width, "matters": float(np.mean(matters))}


def score(job: WorkerJob) -> dict[str, Any]:
    """Compare a candidate with the reference.

    args and inputs are those of `reference`, with inputs["reference"]. Writes pictures.npz with, for each position,
    picture, kl (nats), same_top and max_error. Returns positions (number). Raises EdgehoneError for NaN, infinity,
    or a vocabulary smaller than the original's.
    """
    import numpy as np

    session = _open(job)
    rows: dict[str, list[Any]] = {"picture": [], "kl": [], "same_top": [], "max_error": []}
    try:
        for index, (picture, before, after) in enumerate(shown(job)):
            expected = np.load(job.inputs["reference"] / f"{index}.npy")
            logits = _checked(session.score_picture(picture, before, after), index, expected.shape[1])
            logprobs = log_softmax(logits)
            rows["picture"].append(np.full(len(logprobs), index))
            rows["kl"].append(np.maximum((np.exp(expected) * (expected - logprobs)).sum(1), 0.0))
            rows["same_top"].append(expected.argmax(1) == logprobs.argmax(1))
            rows["max_error"].append(np.abs(expected - logprobs).max(1))
            job.progress((index + 1) / 8, "pictures")
    finally:
        session.close()
    with (job.out / "pictures.npz").open("wb") as file:
        columns: dict[str, Any] = {name: np.concatenate(parts) for name, parts in rows.items()}
        np.savez(file, **columns)
    return {"positions": int(sum(len(part) for part in rows["kl"]))}


def time_first(job: WorkerJob) -> dict[str, Any]:
    """Return the seconds from a picture to the first token, {"seconds": […]}: each picture once, after one warm-up."""
    session = _open(job)
    seconds = []
    try:
        items = list(shown(job))
        for picture, before, after in [items[0], *items]:
            generation = session.describe(picture, before, after, 1)
            seconds.append(generation.times[0] - generation.started)
    finally:
        session.close()
    return {"seconds": seconds[1:]}


def _open(job: WorkerJob) -> VisionSession:
    backend = require(load_backend(job), VisionBackend)
    return backend.open_vision(job.inputs["artifact"], job.args["settings"], job)


def shown(job: WorkerJob) -> Iterator[tuple[Picture, list[int], list[int]]]:
    """Yield each picture with the ids before and after it. inputs: pictures."""
    import numpy as np

    folder = job.inputs["pictures"]
    prompts = json.loads((folder / "prompts.json").read_text("utf-8"))
    with np.load(folder / "pictures.npz", allow_pickle=False) as pictures:
        for index, prompt in enumerate(prompts):
            yield pictures[str(index)], prompt["before"], prompt["after"]


def _checked(logits: Logits, index: int, width: int | None) -> Logits:
    import numpy as np

    if width is not None:
        if logits.shape[1] < width:
            raise EdgehoneError(f"the vocabulary has {logits.shape[1]} entries, the original's {width}")
        logits = logits[:, :width]
    if not np.isfinite(logits).all():
        raise EdgehoneError(f"picture {index}: non-finite logits")
    return logits
