"""The steps of a re-optimization that read kept requests, each in a child process: prepare, judge.

`work` has options.json, which says what a step needs. A step writes its result at once, so that one that is killed is
made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgehone.bundle.read import Bundle, read
from edgehone.certify.graph_runs import CLEAN, graph_runs
from edgehone.certify.profile import Profile, read_profile
from edgehone.certify.scored import Scores, scored
from edgehone.certify.subject import Sources, Subject
from edgehone.core.errors import EdgehoneError, InputError
from edgehone.evaluation import statistics as st
from edgehone.evaluation.quality import kept_ratio
from edgehone.execution.job import Input
from edgehone.inputs.axes import Axes
from edgehone.model.digest import digest_file
from edgehone.operate.reoptimize import parts, recent
from edgehone.operate.reoptimize.judged import Judged, judge
from edgehone.serve.drift.sealed import read_key
from edgehone.worker import canaries, perturbed_windows

CHALLENGER, JUDGED, OPTIONS = "challenger", "judged.json", "options.json"
# The windows of held-out text that are compared at most: enough for a difference of a tenth of the spread.
_WINDOWS = 400


def run(step: str, folder: str) -> int:
    """Run a step. Prints the error, and returns 2, for input that cannot be used; 1 for other failures."""
    work = Path(folder)
    given = json.loads((work / OPTIONS).read_text("utf-8"))
    try:
        {"prepare": prepare, "judge": judge_step}[step](work, given)
    except EdgehoneError as error:
        (work / "error.json").write_text(json.dumps({"message": error.message, "hint": error.hint}), "utf-8")
        return 2
    return 0


def prepare(work: Path, given: Mapping[str, Any]) -> None:
    """Decrypt the kept requests of the champion and divide them."""
    bundle = read(given["bundle"])
    found = recent.read_recent(
        Path(given["state"]), given["model"], bundle.manifest.digest, read_key(Path(given["samples_key"]))
    )
    if found.count < given["least"]:
        raise InputError(
            f"{found.count} different requests were kept of {given['model']}; {given['least']} are needed",
            hint="wait for more requests, or keep more of them: edgehone serve … --keep-samples N",
        )
    if bundle.manifest.kind == "language":
        made = parts.text_parts(_texts(bundle, found.prompts, work, given), work)
    else:
        folder = bundle.canaries
        asked = [question for question, _ in canaries.read(folder)] if folder else []
        axes = Axes.from_json(bundle.manifest.axes)
        made = parts.array_parts(found.tensors, found.labels, axes, work, asked)
    replace(made, notes=(*found.notes, *made.notes)).write(work)


def _texts(
    bundle: Bundle, prompts: Sequence[Sequence[int]], work: Path, given: Mapping[str, Any]
) -> list[str]:
    """Return the texts of prompts, by the bundle's own tokenizer."""
    path = work / "prompts.json"
    path.write_text(json.dumps([list(one) for one in prompts]), "utf-8")
    subject = _subject(bundle, work, given, Sources())
    inputs = {**subject.tokenizer, "prompts": Input(path, digest_file(path))}
    done = subject.run("edgehone.worker.prompt_texts:texts", {}, inputs)
    found: list[str] = json.loads((done.out / "texts.json").read_text("utf-8"))
    return found


def judge_step(work: Path, given: Mapping[str, Any]) -> None:
    """Compare champion and challenger on the held-out part."""
    made = parts.Parts.read(work)
    assert made is not None
    model = given["model_path"]
    sources = Sources(model=Path(model) if model else None, evaluation=made.path(parts.HELD_OUT))
    bundles = [read(given["bundle"]), read(work / CHALLENGER)]
    subjects = [_subject(one, work / f"judge-{at}", given, sources) for at, one in enumerate(bundles)]
    judged = _language(*subjects) if bundles[0].manifest.kind == "language" else _graph(*subjects)
    judged.write(work / JUDGED)


def _language(champion: Subject, challenger: Subject) -> Judged:
    before, after = (scored(one).kind(perturbed_windows.CLEAN) for one in (champion, challenger))
    figures = {}
    for name, one in (("champion", before), ("challenger", after)):
        columns = one.candidate["correct"], one.original["correct"], one.candidate["window"]
        figures[f"{name}_accuracy_kept"] = kept_ratio(*columns, "the original predicts no token correctly")
        figures[f"{name}_excess_nats"] = st.mean_interval(one.excess()).figure("nats per token")
    what = "divergence from the original in nats per token"
    first, second = _by_window(before), _by_window(after)
    return judge(what, first, second, more_is_better=False, figures=figures, unit="nats per token")


def _by_window(scores: Scores) -> list[float]:
    """Return the mean KL divergence from the original, by window."""
    import numpy as np

    index = scores.candidate["window"].astype(int)
    index -= index.min()
    means: list[float] = (np.bincount(index, weights=scores.candidate["kl"]) / np.bincount(index)).tolist()
    return means


def _graph(champion: Subject, challenger: Subject) -> Judged:
    before, after = graph_runs(champion), graph_runs(challenger)
    kept = [one.kept(CLEAN) for one in (before, after)]
    names = ("champion_decisions_kept", "challenger_decisions_kept")
    figures = {name: st.mean_interval(one).figure("share") for name, one in zip(names, kept, strict=True)}
    first, second = before.correct(CLEAN), after.correct(CLEAN)
    if first is None or second is None:
        what = "share of the original's decisions that is kept"
        return judge(what, *kept, more_is_better=True, figures=figures, unit="share")
    figures["original_accuracy"] = st.mean_interval(first[0].astype(float)).figure("share")
    values = first[1].astype(float), second[1].astype(float)
    return judge("accuracy", *values, more_is_better=True, figures=figures, unit="share")


def _subject(bundle: Bundle, work: Path, given: Mapping[str, Any], sources: Sources) -> Subject:
    work.mkdir(exist_ok=True)
    profile: Profile = read_profile(Path(given["profile"]) if given["profile"] else None)
    measure = replace(profile.measure, windows=_WINDOWS, perturbed=0, long_windows=0)
    return Subject(bundle, replace(profile, measure=measure), sources, work, lambda text: None)
