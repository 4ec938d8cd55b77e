"""The stage optimization: `edgehone optimize` with the frameworks that are named, and what its decision must show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgehone.bundle.read import read
from edgehone.decision.decision import Candidate, Decision
from edgehone.package.deployment import backends_of_framework
from edgehone.pipeline.document import Pipeline
from edgehone.pipeline.read import settings_fields
from edgehone.pipeline.stage import Stage
from edgehone.pipeline.stages.common import bundle_departed, bundle_facts, data_inputs, judge, now
from edgehone.pipeline.work import StageFailed, Work

_NO_CANDIDATE: Final = 3
_UNDECIDED: Final = 4


def _settings(pipeline: Pipeline) -> Mapping[str, Any]:
    model = {name: getattr(pipeline.model, name) for name in ("metric", "workload", "device")}
    threshold = pipeline.model_validation.accuracy_threshold
    return {**settings_fields(pipeline.optimization), **model, "accuracy_threshold": threshold}


def words_of(work: Work, backends: Sequence[str]) -> list[str]:
    """Return the words of `edgehone optimize` for this file, with these backends ([]: all), without --out."""
    optimization = work.pipeline.optimization
    threshold = work.pipeline.model_validation.accuracy_threshold
    words = ["optimize", str(work.model), *work.model_words(), "--effort", optimization.effort]
    words += ["--when-busy", optimization.when_busy, "--no-fallback"]
    words += ["--backends", ",".join(backends)] if backends else []
    words += ["--time", optimization.time] if optimization.time else []
    for gate in (f"accuracy_kept={threshold:g}", *optimization.gates):
        words += ["--gate", gate]
    return words


def _make(work: Work) -> tuple[Mapping[str, Any], str]:
    begun = now()
    done = work.verb(*words_of(work, work.backends()), "--out", str(work.bundle))
    if done.code != 0:
        why = {_NO_CANDIDATE: "no candidate passes every gate", _UNDECIDED: "not decided"}.get(done.code)
        reason = f"{why}: {done.facts.get('reason', '')}" if why else done.problem
        work.found("optimize", "failed", reason, begun)
        raise StageFailed(reason)
    decision = read(work.bundle).decision
    work.found("optimize", "passed", decision.reason, begun)
    validation = work.pipeline.optimization.validation
    if validation.cross_validation == "enabled":
        _cross_validation(work, decision)
    if validation.performance_comparison != "disabled":
        _performance_comparison(work, decision, must=validation.performance_comparison == "required")
    work.figures.extend(_figures(decision))
    judge(work)
    work.notes.extend(decision.notes)
    return {**bundle_facts(work.bundle), "chosen": decision.chosen}, decision.reason


def _figures(decision: Decision) -> list[str]:
    """Return the choice, and what it gains, as far as that is known."""
    chosen = decision.candidate(decision.chosen or decision.baseline.key)
    speedup, cut = chosen.figure("speedup").value, chosen.figure("memory_cut").value
    gains = [f"{speedup:.3g}× as fast"] if speedup is not None else []
    gains += [f"memory −{100 * cut:.0f} %"] if cut is not None else []
    return [chosen.key, ", ".join(gains)] if gains else [chosen.key]


def _cross_validation(work: Work, decision: Decision) -> None:
    """Note, for each framework, whether a candidate of it was compared with the original."""
    named = {
        name: backends_of_framework(name, "frameworks") for name in work.pipeline.optimization.frameworks
    }
    refused = {note.partition(":")[0]: note for note in decision.notes}
    for name, backends in (named or {one: (one,) for one in _backends_in(decision)}).items():
        of_it = [one for one in decision.candidates if one.backend in backends]
        compared = [one for one in of_it if one.status == "ok" and _quality(one) is not None]
        if compared:
            best = max(compared, key=lambda one: _quality(one) or 0.0)
            said = f"{len(compared)} candidates; the best keeps {_quality(best):.4g} of the accuracy ({best.key})"
            work.found(f"cross_validation.{name}", "passed", said)
        elif of_it:
            work.found(f"cross_validation.{name}", "failed", _why(of_it))
        else:
            reason = next((refused[one] for one in backends if one in refused), "it does not take this model")
            work.found(f"cross_validation.{name}", "skipped", f"no candidate: {reason}")


def _backends_in(decision: Decision) -> list[str]:
    return sorted({one.backend for one in decision.candidates})


def _quality(candidate: Candidate) -> float | None:
    return candidate.figure("accuracy_kept").value


def _why(candidates: Sequence[Candidate]) -> str:
    return next(
        (f"{one.key}: {one.error}" for one in candidates if one.error),
        "no candidate was compared with the original",
    )


def _performance_comparison(work: Work, decision: Decision, *, must: bool) -> None:
    """Note whether the speed of the chosen candidate, and of others, is known beside that of the original."""
    alive = [one for one in decision.candidates if one.status == "ok"]
    compared = [one for one in alive if one.figure("speedup").value is not None]
    chosen = decision.candidate(decision.chosen or decision.baseline.key)
    speedup = chosen.figure("speedup")
    if speedup.value is not None:
        said = f"{len(compared)} of {len(alive)} candidates measured beside the original; {chosen.key} is "
        work.found("performance_comparison", "passed", f"{said}{speedup.value:.3g} times as fast")
    else:
        reason = f"the speed of {chosen.key} beside the original is not known: {speedup.reason}"
        work.found("performance_comparison", "failed" if must else "skipped", reason)


STAGE: Final = Stage(
    name="optimization",
    says="candidates of each framework are built, proven and measured, and one is chosen",
    needs="model_validation",
    settings=_settings,
    inputs=data_inputs,
    make=_make,
    departed=bundle_departed,
    approval=lambda pipeline: pipeline.optimization.approval,
)
