"""Score quality: log-probabilities of the original, and the divergence of a candidate from them (worker side).

The protocol is the same for all backends. The evaluation ids are cut into windows of equal length, each consisting
of the model's BOS ids followed by consecutive text ids; windows do not overlap. Every text id but the first of a
window is a target: position i predicts i + 1, from an empty context, with the same ids for every backend. With
inputs["conversations"] the windows are conversations instead, and the targets the ids of the answers; long chats may
follow, which are scored in the same session and stored apart (`worker.windows`).

`reference` stores the original's log-probabilities: all of them if they fit in `max_bytes`, else the K most likely
of each position and the mass of the rest. `score` streams a candidate's logits past them. Neither holds more than
one chunk of a backend's logits and BLOCK_BYTES of temporaries, whatever the vocabulary.

In both, `job.inputs["prepared"]` is a folder with

    evaluation.json   {"ids": [...], "bytes": [number of UTF-8 bytes of each id]}
    parity.json       the texts on which tokenizers are compared (`worker.prepare`)
    task.json         optional: [{"context": [ids], "choices": [[ids], ...], "answer": index}], without BOS
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import capability
from edgehone.backends.sessions import ForeseeingSession
from edgehone.core.errors import EdgehoneError
from edgehone.worker.backend import load_backend
from edgehone.worker.logprobs import Store, divergence, log_errors, log_softmax
from edgehone.worker.long_chats import TOKENS as LONG
from edgehone.worker.windows import Windows
from edgehone.worker.windows import read as read_windows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgehone.backends.sessions import Logits, Session, WorkerJob

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float32]

MAX_BYTES = 1 << 30
BLOCK_BYTES = 64 << 20
# The largest difference of a token's log-probability between two runs of the original: sums in another order change it
# by about 1e-5 nats in float32 and 1e-2 in 16 bits, dropout by 0.1 or more for some token of a window.
SAME_NATS = 0.05
# The files of scored tokens, in the order in which log-probabilities are stored: the windows', the long chats'.
_FILES = ("tokens.npz", LONG)
BLOCK_COST = 40  # bytes of temporaries per logit in the most expensive step, `exact_kl`


def reference(job: WorkerJob) -> dict[str, Any]:
    """Write the original's log-probabilities to `job.out`.

    args: backend, settings, bos, windows, window (ids per window), start (first text id, default 0), max_bytes
    (limit for the log-probabilities, default 1 GiB), tokenize (as in `score`), width (the vocabulary, if padding beyond
    it is to be cut off). inputs: artifact, prepared.

    Files: reference.json (the facts), tokens.npz, long.npz for long chats, task.npz if there is a task, and either
    logprobs.npy [tokens, V] float32, or top_ids.npy [tokens, K] int32 (ascending), top_logprobs.npy [tokens, K] float32
    and tail.npy [tokens] float32 (log of the mass outside the K), of the windows and then the long chats. The facts say
    which; those on windows and tokens leave long chats out. `differs` says, as a sentence, how the first window
    scored again differs by more than rounding, or is None. With `tokenize`, facts and files include those of `score`,
    for the original as its own candidate. Raises EdgehoneError if the text is too short or the logits are unusable.
    """
    windows = read_windows(job)
    session = _open(job)
    try:
        store: Store | None = None
        rows = _Rows()
        sequences = [window.ids.tolist() for window in windows.all]
        _foresee(session, sequences, lambda done: job.progress(0.9 * done, "reference, by block"))
        for number, window in enumerate(windows.all):
            done = 0
            for logits in _blocks(
                session, window.ids, window.scored, f"window {number}", job.args.get("width")
            ):
                if store is None:
                    budget = int(job.args.get("max_bytes", MAX_BYTES))
                    store = Store.create(job.out, windows.tokens, logits.shape[1], budget, job.threads)
                targets = window.targets[done : done + len(logits)]
                store.add(rows.add_target(number, logits, targets))
                done += len(logits)
            job.progress((number + 1) / len(windows.all), "reference")
        if store is None:
            raise EdgehoneError("the evaluation text has no window")
        facts = {**store.close(), "ids_sha256": windows.digest, "bos": list(windows.bos)}
        facts |= {
            "windows": len(windows.each),
            "window": max(len(one.ids) for one in windows.each),
            "tokens": sum(len(one.bytes) for one in windows.each),
        }
        facts["start"] = int(job.args.get("start", 0))
        facts |= _comparison(facts)
        rows.save(job.out, windows)
        facts["differs"] = _difference(session, windows, rows, job.args.get("width"))
        facts |= _extras(job, session, windows.bos, store.vocabulary)
    finally:
        session.close()
    (job.out / "reference.json").write_text(json.dumps(facts), encoding="utf-8")
    return facts


def _foresee(
    session: Session,
    sequences: Sequence[Sequence[int]],
    progress: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Let a session that scores texts together do so."""
    if foreseeing := capability(session, ForeseeingSession):
        foreseeing.foresee(sequences, progress)


def _difference(session: Session, windows: Windows, rows: _Rows, width: int | None) -> str | None:
    """Score the first window again, and return how its tokens' log-probabilities differ by more than rounding."""
    import numpy as np

    window, again, done = windows.each[0], _Rows(), 0
    for logits in _blocks(session, window.ids, window.scored, "window 0", width):
        again.add_target(0, logits, window.targets[done : done + len(logits)])
        done += len(logits)
    first = np.concatenate(rows.nll)[: len(window.targets)]
    widest = float(np.abs(first - np.concatenate(again.nll)).max())
    return f"the log-probability of a token differs by {widest:.2g} nats" if widest > SAME_NATS else None


def score(job: WorkerJob) -> dict[str, Any]:
    """Score a candidate against `job.inputs["reference"]`; windows and BOS are the reference's.

    args: backend, settings, tokenize (true: also tokenize the texts of parity.json with the backend's own tokenizer),
    windows (a prescreen: only that many windows, and no task). inputs: artifact, prepared, reference.

    Files: tokens.npz with, per scored token, window, position (of the id that predicts it), kl (nats, KL(reference ||
    candidate)), nll (nats), same_top, correct, bytes, max_error and mean_error (nats, of log-probabilities, over
    facts["compared"] ids); long.npz with the same of long chats; task.npz if there is a task; with `tokenize`
    token_ids.json: [[ids] of each text].

    With a top-K reference the divergence is that of the distributions coarsened to K bins and one bin for the rest,
    which by the log-sum inequality never exceeds the exact one: facts["kl_is_lower_bound"] is then true. Raises
    EdgehoneError for a reference of another text, a smaller vocabulary or non-finite logits.
    """
    import numpy as np

    folder = job.inputs["reference"]
    reference_facts = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
    windows = read_windows(job, reference_facts)
    if windows.digest != reference_facts["ids_sha256"]:
        raise EdgehoneError("the reference was computed from other token ids than those to be scored")
    if prescreen := job.args.get("windows"):
        windows = windows.head(prescreen)
    tops = np.concatenate([np.load(folder / name)["argmax"] for name in _FILES if (folder / name).is_file()])
    session = _open(job)
    try:
        rows = _Rows()
        at = 0
        for number, window in enumerate(windows.all):
            start, width = at, reference_facts["vocabulary"]
            for logits in _blocks(session, window.ids, window.scored, f"window {number}", width):
                targets = window.targets[at - start : at - start + len(logits)]
                logprobs = rows.add_target(number, logits, targets)
                block = slice(at, at + len(logits))
                rows.kl.append(divergence(folder, reference_facts["full"], block, logprobs))
                largest, mean = log_errors(folder, reference_facts["full"], block, logprobs)
                rows.max_error.append(largest)
                rows.mean_error.append(mean)
                rows.same_top.append(rows.argmax[-1] == tops[at : at + len(logits)])
                at += len(logits)
            job.progress((number + 1) / len(windows.all), "score")
        rows.save(job.out, windows)
        facts: dict[str, Any] = {"tokens": at, **_comparison(reference_facts)}
        if not prescreen:
            facts |= _extras(job, session, windows.bos, reference_facts["vocabulary"])
    finally:
        session.close()
    return facts


def _comparison(reference_facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts on how candidates are compared with a reference."""
    return {
        "kl_is_lower_bound": not reference_facts["full"],
        "compared": reference_facts["k"] or reference_facts["vocabulary"],
        "vocabulary": reference_facts["vocabulary"],
    }


def _open(job: WorkerJob) -> Session:
    return load_backend(job).open_session(job.inputs["artifact"], job.args.get("settings", {}), job)


def _write_token_ids(job: WorkerJob, session: Session) -> None:
    """Tokenize the texts of parity.json with the session's own tokenizer."""
    texts = json.loads((job.inputs["prepared"] / "parity.json").read_text(encoding="utf-8"))
    ids = [[int(i) for i in session.tokenize(one["text"])] for one in texts]
    (job.out / "token_ids.json").write_text(json.dumps(ids), encoding="utf-8")


def _blocks(
    session: Session, ids: Sequence[int] | Ints, scored: Sequence[int] | Ints, window: str, width: int | None
) -> Iterator[Logits]:
    """Yield the checked logits of the `scored` positions, which ascend, in blocks of limited size.

    `width` is the reference's vocabulary: padding beyond it is cut off. Raises EdgehoneError for a smaller
    vocabulary, non-finite logits, or missing positions.
    """
    import numpy as np

    position, wanted = 0, np.asarray(scored, np.int64)
    for chunk in session.score([int(i) for i in ids]):
        vocabulary = int(chunk.shape[1])
        if width is not None and vocabulary < width:
            raise EdgehoneError(
                f"the candidate's vocabulary has {vocabulary} entries, the original's {width}"
            )
        low, high = np.searchsorted(wanted, (position, position + len(chunk)))
        step = max(1, BLOCK_BYTES // (BLOCK_COST * vocabulary))
        for begin in range(low, high, step):
            at = wanted[begin : min(begin + step, high)]
            block = np.asarray(_rows_of(chunk, at - position)[:, :width], dtype=np.float32)
            # Check the extremes, which are NaN or infinite if any entry is; a sum would overflow.
            if not np.isfinite(block.max() - np.float64(block.min())):
                row = int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
                raise EdgehoneError(f"non-finite logits in {window} at position {at[row]}")
            yield block
        position += len(chunk)
    if len(wanted) and position <= wanted[-1]:
        raise EdgehoneError(f"{window}: only {position} positions have logits for {len(ids)} ids")


def _rows_of(chunk: Logits, at: Ints) -> Logits:
    """Return rows of a chunk of logits, without a copy if they follow each other."""
    together = at[-1] - at[0] + 1 == len(at)
    return chunk[int(at[0]) : int(at[-1]) + 1] if together else chunk[at]


class _Rows:
    """The values stored for each scored token, collected block by block."""

    def __init__(self) -> None:
        self.window: list[NDArray[Any]] = []
        self.nll: list[NDArray[Any]] = []
        self.argmax: list[NDArray[Any]] = []
        self.correct: list[NDArray[Any]] = []
        self.kl: list[NDArray[Any]] = []
        self.same_top: list[NDArray[Any]] = []
        self.max_error: list[NDArray[Any]] = []
        self.mean_error: list[NDArray[Any]] = []

    def add_target(self, window: int, logits: Logits, targets: Ints) -> Floats:
        """Collect the values that need only the targets; return the block's log-probabilities for the others."""
        import numpy as np

        if targets.max() >= logits.shape[1]:
            raise EdgehoneError(f"token id {targets.max()} is outside the vocabulary of {logits.shape[1]}")
        logprobs = log_softmax(logits)
        self.window.append(np.full(len(logits), window, np.int32))
        self.nll.append(-logprobs[np.arange(len(targets)), targets].astype(np.float64))
        self.argmax.append(logits.argmax(axis=1).astype(np.int32))
        self.correct.append(self.argmax[-1] == targets)
        return logprobs

    def save(self, folder: Path, windows: Windows) -> None:
        """Write one row per token. The reference's divergence from itself is 0 by definition."""
        import numpy as np

        columns: dict[str, Any] = {
            n: np.concatenate(getattr(self, n)) for n in ("window", "nll", "argmax", "correct")
        }
        tokens = len(columns["nll"])
        for name in ("kl", "max_error", "mean_error"):
            value = getattr(self, name)
            columns[name] = np.concatenate(value) if value else np.zeros(tokens)
        columns["same_top"] = np.concatenate(self.same_top) if self.same_top else np.ones(tokens, bool)
        columns["bytes"] = np.concatenate([one.bytes for one in windows.all])
        columns["position"] = np.concatenate([one.scored for one in windows.all]).astype(np.int32)
        usual = sum(len(one.bytes) for one in windows.each)
        parts = (slice(usual), slice(usual, None)) if windows.long else (slice(usual),)
        for name, part in zip(_FILES, parts, strict=False):
            with (folder / name).open("wb") as file:
                np.savez(file, **{column: values[part] for column, values in columns.items()})


def _extras(job: WorkerJob, session: Session, bos: tuple[int, ...], width: int) -> dict[str, Any]:
    """Tokenize the parity texts on request, and score the task; return the number of its items."""
    facts: dict[str, Any] = {}
    if job.args.get("tokenize"):
        _write_token_ids(job, session)
    path = job.inputs["prepared"] / "task.json"
    if path.exists():
        items = json.loads(path.read_text(encoding="utf-8"))
        facts["task_items"] = _score_task(job, session, items, bos, width)
    return facts


def _score_task(
    job: WorkerJob, session: Session, items: list[dict[str, Any]], bos: tuple[int, ...], width: int
) -> int:
    """Write the log-likelihood of each choice after its context to task.npz; return the number of items.

    `picked` is the most likely choice, `picked_normalised` the most likely per token, so that long answers are not
    penalized for their length.
    """
    import numpy as np

    widest = max(len(item["choices"]) for item in items)
    sums = np.full((len(items), widest), -np.inf)
    lengths = np.ones((len(items), widest))
    whole = [[*bos, *item["context"], *choice] for item in items for choice in item["choices"]]
    _foresee(session, [ids for ids in whole if ids])
    for i, item in enumerate(items):
        for j, choice in enumerate(item["choices"]):
            sums[i, j] = _loglikelihood(session, [*bos, *item["context"]], choice, f"task {i}", width)
            lengths[i, j] = len(choice)
        job.progress((i + 1) / len(items), "task")
    answers = np.array([item["answer"] for item in items])
    picked, normalised = sums.argmax(axis=1), (sums / lengths).argmax(axis=1)
    with (job.out / "task.npz").open("wb") as file:
        np.savez(file, sums=sums, answer=answers, picked=picked, picked_normalised=normalised)
    return len(items)


def _loglikelihood(session: Session, context: list[int], choice: list[int], name: str, width: int) -> float:
    import numpy as np

    if not context or not choice:
        raise EdgehoneError(f"{name}: the prompt or a choice has no token")
    total, at = 0.0, 0
    scored = range(len(context) - 1, len(context) + len(choice) - 1)
    for block in _blocks(session, context + choice, scored, name, width):
        targets = choice[at : at + len(block)]
        total += float(log_softmax(block)[np.arange(len(block)), targets].sum(dtype=np.float64))
        at += len(block)
    return total
