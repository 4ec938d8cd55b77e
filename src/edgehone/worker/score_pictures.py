"""How far a candidate that is shown a picture is from the original that is shown the same (worker side).

Every id after the picture is a position that predicts the next, the same ids for every backend. `reference` keeps the
original's log-probabilities there, and tells how much the picture matters to them at all; `score` compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import VisionBackend, require
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import EdgehoneError
from edgehone.inputs.pictures import grey
from edgehone.worker.backend import load_backend
from edgehone.worker.logprobs import log_softmax

if TYPE_CHECKING:
    from edgehone.backends.sessions import (
        Logits,
        VisionSession,
    )
    from edgehone.inputs.pictures import Picture


def reference(job: WorkerJob) -> dict[str, Any]:
    """Write logprobs of the original: INDEX.npy [positions, vocabulary] float32 for each picture.

    args: backend, settings. inputs: artifact, pictures (what `prepare_pictures` wrote).
    Returns vocabulary, and `matters`: the mean KL divergence (nats) of the original that sees a plain grey picture
    from the one that sees the right one. 0 means that the picture changes nothing, and nothing could be found out.
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
    """Compare a candidate: pictures.npz with, for each position, picture, kl (nats), same_top, max_error.

    args and inputs as of `reference`, and inputs["reference"]. Raises EdgehoneError for NaN, infinity, or a
    vocabulary narrower than the original's.
    """
    import numpy as np

    session = _open(job)
    rows: dict[str, list[Any]] = {"picture": [], "kl": [], "same_top": [], "max_error": []}
    try:
        for index, (picture, before, after) in enumerate(shown(job)):
            wanted = np.load(job.inputs["reference"] / f"{index}.npy")
            logits = _checked(session.score_picture(picture, before, after), index, wanted.shape[1])
            got = log_softmax(logits)
            rows["picture"].append(np.full(len(got), index))
            rows["kl"].append(np.maximum((np.exp(wanted) * (wanted - got)).sum(1), 0.0))
            rows["same_top"].append(wanted.argmax(1) == got.argmax(1))
            rows["max_error"].append(np.abs(wanted - got).max(1))
            job.progress((index + 1) / 8, "pictures")
    finally:
        session.close()
    with (job.out / "pictures.npz").open("wb") as file:
        columns: dict[str, Any] = {name: np.concatenate(parts) for name, parts in rows.items()}
        np.savez(file, **columns)
    return {"positions": int(sum(len(part) for part in rows["kl"]))}


def time_first(job: WorkerJob) -> dict[str, Any]:
    """Seconds from a picture to the first token, {"seconds": […]}: each picture once, after one to warm up."""
    session = _open(job)
    found = []
    try:
        whole = list(shown(job))
        for picture, before, after in [whole[0], *whole]:
            made = session.describe(picture, before, after, 1)
            found.append(made.times[0] - made.started)
    finally:
        session.close()
    return {"seconds": found[1:]}


def _open(job: WorkerJob) -> VisionSession:
    backend = require(load_backend(job), VisionBackend)
    return backend.open_vision(job.inputs["artifact"], job.args["settings"], job)


def shown(job: WorkerJob) -> Iterator[tuple[Picture, list[int], list[int]]]:
    """Each picture with the ids before and after it. inputs: pictures."""
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
