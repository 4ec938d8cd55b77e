"""Quality and robustness of graphs, paired with the original by sample.

What a perturbation costs the candidate beyond what it costs the original is, for each sample, (its share of the
decisions kept on the clean sample) - (that on the perturbed one); with classes as labels it is the number of classes
that the perturbation makes the candidate miss less those that it makes the original miss. The mean has a t interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from edgehone.certify.found import Found, Skipped, counted, judged
from edgehone.certify.graph_runs import CLEAN, EXTREME, MISSING, GraphRuns, graph_runs
from edgehone.certify.profile import Rule
from edgehone.certify.subject import Subject
from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st
from edgehone.evaluation.counted import Agreement
from edgehone.evaluation.quality import kept_ratio

# A slice of fewer samples shows nothing.
_LEAST = 20


def accuracy(subject: Subject, rule: Rule) -> Found:
    """Judge the share of the original's accuracy, or of its decisions without labels, that is kept."""
    runs = subject.once(graph_runs)
    evidence = _evidence(runs, CLEAN)
    return judged(_kept(runs), ">=", rule.limit, "low", "accuracy kept", evidence)


def slices(subject: Subject, rule: Rule) -> Found:
    """Judge the worst slice: by the array `slices` of the samples, else by the classes of the labels."""
    import numpy as np

    runs = subject.once(graph_runs)
    names = runs.slices
    if names is None and runs.correct(CLEAN) is not None:
        assert runs.samples.labels is not None
        names = [f"class {one}" for one in runs.samples.labels]
    if names is None:
        return counted([], "the samples have no slices: neither an array `slices` nor classes as labels")
    kept = {}
    for name in dict.fromkeys(names):
        chosen = np.array([one == name for one in names])
        if chosen.sum() >= _LEAST:
            kept[name] = _kept(runs, chosen)
    known = {name: one for name, one in kept.items() if one.value is not None}
    if not known:
        raise Skipped(f"no slice has {_LEAST} samples")
    worst = min(known, key=lambda name: known[name].value or 0.0)
    evidence = {"slices": {name: one.to_json() for name, one in kept.items()}}
    return judged(
        known[worst],
        ">=",
        rule.limit,
        "value",
        f"accuracy kept of {worst}, the worst of {len(known)}",
        evidence,
    )


def _perturbed(kind: str, subject: Subject, rule: Rule) -> Found:
    runs = subject.once(graph_runs)
    _require(runs, kind)
    if (error := runs.candidate.facts[kind]["error"]) is not None:
        return counted([f"the candidate does not run on samples with {kind}: {error}"], "")
    clean, labelled = runs.correct(CLEAN), runs.correct(kind)
    if clean is not None and labelled is not None:
        lost = [one.astype(float) - other for one, other in zip(clean, labelled, strict=True)]
        differences = lost[1] - lost[0]
    else:
        differences = runs.kept(CLEAN) - runs.kept(kind)
    figure = st.mean_interval(differences).figure("of the samples")
    what = f"decisions that {kind} costs the candidate beyond the original's"
    return judged(figure, "<=", rule.limit, "high", what, _evidence(runs, kind))


noise = partial(_perturbed, "noise")
blur = partial(_perturbed, "blur")
brightness = partial(_perturbed, "brightness")


def _ends(cases: Sequence[str], subject: Subject, rule: Rule) -> Found:
    runs = subject.once(graph_runs)
    problems = []
    for case in cases:
        _require(runs, case, may_fail=True)
        original, candidate = runs.original.facts[case], runs.candidate.facts[case]
        if original["error"]:
            continue
        if candidate["error"]:
            problems.append(f"{case}: the original answers and the candidate fails: {candidate['error']}")
        elif candidate["finite"] < original["finite"]:
            problems.append(
                f"{case}: {candidate['finite']} outputs are finite, and {original['finite']} of the original's"
            )
    evidence = {
        name: {case: one.facts[case] for case in cases}
        for name, one in (("original", runs.original), ("candidate", runs.candidate))
    }
    told = f"{' and '.join(cases)}: the candidate answers as often as the original"
    return counted(problems, told, evidence, n=len(cases))


extreme_values = partial(_ends, EXTREME)
missing_values = partial(_ends, MISSING)


def _require(runs: GraphRuns, case: str, *, may_fail: bool = False) -> None:
    if case not in runs.original.facts:
        raise Skipped("the graph takes whole numbers only, which are not perturbed")
    if (error := runs.original.facts[case]["error"]) and not may_fail:
        raise Skipped(f"the original does not run on samples with {case}: {error}")


def _kept(runs: GraphRuns, chosen: object = None) -> Figure:
    import numpy as np

    rows = np.ones(runs.samples.count, bool) if chosen is None else np.asarray(chosen)
    if (labelled := runs.correct(CLEAN)) is not None:
        original, candidate = (one[rows].astype(float) for one in labelled)
        figure = kept_ratio(
            candidate, original, np.arange(len(original)).astype(float), "the original finds no class"
        )
        if figure.value == 1.0 and bool((original == candidate).all()):
            return Figure(1.0, st.no_difference(len(original)), 1.0, len(original), "ratio")
        return figure
    kept = runs.kept(CLEAN)[rows]
    return Agreement(kept, np.ones(len(kept))).figure()


def _evidence(runs: GraphRuns, case: str) -> dict[str, object]:
    labelled = runs.correct(case)
    found: dict[str, object] = {"samples": runs.samples.count, "kept_by_sample": runs.kept(case).tolist()}
    if labelled is not None:
        found["correct_original"], found["correct_candidate"] = (float(one.mean()) for one in labelled)
    return found
