"""Scores of a language model and its original on text that the run did not use: as it is, perturbed, and long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.certify.found import Skipped
from edgehone.certify.original import OriginalModel, original_of
from edgehone.certify.subject import Subject
from edgehone.core.errors import TextError
from edgehone.execution.job import Input
from edgehone.inputs import texts
from edgehone.model.digest import digest_file
from edgehone.worker.perturbed_windows import ANSWER
from edgehone.worker.score import MAX_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Columns = dict[str, NDArray[np.float64]]

WINDOW = 256
# Text of fewer characters than this has too few windows.
LEAST = 20_000


@dataclass(frozen=True)
class Scores:
    """Columns of `worker.score`, one row a token: of the original and of the candidate, for the same tokens."""

    original: Columns
    candidate: Columns

    def part(self, begin: int, count: int) -> Scores:
        """Return the windows from `begin` on."""
        return Scores(_windows(self.original, begin, count), _windows(self.candidate, begin, count))

    def excess(self) -> NDArray[np.float64]:
        """Return by how many nats per token the candidate is worse than the original, by window."""
        import numpy as np

        index = self.candidate["window"].astype(int)
        index -= index.min()
        lost = np.bincount(index, weights=self.candidate["nll"] - self.original["nll"])
        found: NDArray[np.float64] = lost / np.bincount(index)
        return found


@dataclass(frozen=True)
class Scored:
    """`windows` in the order of `layout` (kind → number), `long` ones (None: the text is too short), and prompts' ids.

    `text` says which text it is.
    """

    windows: Scores
    layout: Mapping[str, int]
    long: Scores | None
    prompts: Mapping[str, list[int]]
    text: str

    def kind(self, name: str) -> Scores:
        """Return the windows of a kind."""
        names = list(self.layout)
        begin = sum(self.layout[one] for one in names[: names.index(name)])
        return self.windows.part(begin, self.layout[name])


def scored(subject: Subject) -> Scored:
    """Score both models. Raises Skipped without the original, or without text that the run did not use."""
    original = subject.once(original_of)
    text, told = _other_text(subject)
    measure = subject.profile.measure
    context = original.ctx.model.context
    workload = subject.bundle.decision.workload
    window = min(WINDOW, context or WINDOW)
    args = {
        "windows": measure.windows,
        "perturbed": measure.perturbed,
        "window": window,
        "long_windows": measure.long_windows,
        "long": min(int(workload.get("context") or 0), context or 1 << 30),
        "context": context,
    }
    subject.say(f"scoring the original and the candidate on {told}")
    prepared = original.ctx.run(
        original.recipe.backend,
        "edgehone.worker.perturbed_windows:prepare",
        args,
        {"model": original.ctx.source, "text": Input(text, digest_file(text))},
        opens_session=True,
    )
    layout, bos = prepared.facts["layout"], prepared.facts["bos"]
    shape = {"bos": bos, "windows": sum(layout.values()), "window": window}
    windows = _scores(subject, original, Input.of(prepared, "windows"), shape)
    long = None
    if count := prepared.facts["long"]:
        shape = {"bos": bos, "windows": count, "window": args["long"]}
        long = _scores(subject, original, Input.of(prepared, "long"), shape)
    return Scored(windows, layout, long, prepared.facts["prompts"], told)


def answers_of(subject: Subject) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return what the original and the candidate answer to odd prompts (`worker.odd_prompts`)."""
    original, found = subject.once(original_of), subject.once(scored)
    call = "edgehone.worker.odd_prompts:answers"
    args = {
        "prompts": found.prompts,
        "count": ANSWER,
        "vocabulary": subject.bundle.decision.model.get("vocabulary"),
    }
    return original.run(call, args, {}).facts, subject.run(call, args).facts


def _scores(subject: Subject, original: OriginalModel, prepared: Input, shape: Mapping[str, Any]) -> Scores:
    args = {**shape, "max_bytes": MAX_BYTES}
    reference = original.run("edgehone.worker.score:reference", args, {"prepared": prepared})
    candidate = subject.run(
        "edgehone.worker.score:score", {}, {"prepared": prepared, "reference": Input.of(reference)}
    )
    return Scores(_columns(reference.out), _columns(candidate.out))


def _columns(folder: Path) -> Columns:
    import numpy as np

    with np.load(folder / "tokens.npz") as file:
        return {name: file[name].astype(np.float64) for name in file.files}


def _windows(columns: Columns, begin: int, count: int) -> Columns:
    chosen = (columns["window"] >= begin) & (columns["window"] < begin + count)
    return {name: column[chosen] for name, column in columns.items()}


def _other_text(subject: Subject) -> tuple[Path, str]:
    """Return a file with text that the run did not use, and its name: the given one or the rest of the shipped one."""
    given = subject.sources.evaluation
    path = given or texts.shipped("evaluation")
    used = 0
    if digest_file(path) == subject.bundle.manifest.texts.get("evaluation"):
        used = _bytes_used(subject)
    raw = texts.read_text(path, "evaluation").encode()
    rest = raw[used:].decode("utf-8", "ignore")
    if len(rest) < LEAST:
        message = (
            f"the run used {used:,} of the {len(raw):,} bytes of {path.name}, which leaves too few: "
            "give another text with --eval FILE"
        )
        if given is not None:
            raise TextError(message)
        raise Skipped(message)
    file = subject.work / "evaluation.txt"
    file.write_text(rest, "utf-8")
    return file, f"{path.name} from byte {used:,} on, which the run did not use" if used else str(path.name)


def _bytes_used(subject: Subject) -> int:
    """Return how many bytes of its text the run scored, by the evidence of the artifact."""
    path = subject.evidence / "tokens.npz"
    if not path.is_file():
        raise Skipped("the evidence does not say which text the run used: give another one with --eval FILE")
    columns = _columns(path.parent)
    windows = len(set(columns["window"]))
    # The first token of each window is no target, so its bytes are not counted; none has more than this.
    return int(columns["bytes"].sum()) + 64 * windows
