"""The stage testing: `edgehone certify`, its checks judged in four parts."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgehone.certify.profile import read_profile
from edgehone.pipeline.document import Pipeline
from edgehone.pipeline.keys import digests
from edgehone.pipeline.read import settings_fields
from edgehone.pipeline.result import Result
from edgehone.pipeline.stage import Stage
from edgehone.pipeline.stages.common import bundle_departed, bundle_facts, data_inputs, judge, now
from edgehone.pipeline.work import StageFailed, Work

# The exit codes of `edgehone certify` that tell that a certificate was written.
_APPROVALS: Final = {0: "approved", 4: "approved with conditions", 3: "not approved"}
# Seconds of load and soak of load_tests: basic.
_SHORT: Final = {"stress_seconds": 2.0, "soak_seconds": 10.0}


def _settings(pipeline: Pipeline) -> Mapping[str, Any]:
    threshold = pipeline.model_validation.accuracy_threshold
    return {**settings_fields(pipeline.testing), "accuracy_threshold": threshold}


def _inputs(work: Work) -> Mapping[str, str]:
    testing = work.pipeline.testing
    own = digests({"profile": work.path(testing.profile), "key": work.path(testing.key)})
    bundle = bundle_facts(work.given) if work.given else {}
    return {**data_inputs(work), **own, **{f"bundle.{name}": str(one) for name, one in bundle.items()}}


def _make(work: Work) -> tuple[Mapping[str, Any], str]:
    testing, model = work.pipeline.testing, work.pipeline.model
    words = ["certify", str(work.bundle), "--model", str(work.model), "--profile", str(_profile(work))]
    words += ["--soak", testing.soak] if testing.soak else []
    words += ["--key", str(work.path(testing.key))] if testing.key else []
    if model.calibrate:
        words += ["--calibration", str(work.path(model.calibrate))]
    begun = now()
    done = work.verb(*words)
    if done.code not in _APPROVALS or "checks" not in done.facts:
        work.found("certify", "failed", done.problem, begun)
        raise StageFailed(done.problem)
    certificate = done.facts
    approval = _APPROVALS[done.code]
    for group in _groups():
        _judge_group(work, group, certificate["checks"])
    _judge_approval(work, approval, certificate["conditions"], begun)
    outcomes = [one["outcome"] for one in certificate["checks"]]
    work.figures.extend([approval, f"{outcomes.count('passed')} of {len(outcomes)} checks passed"])
    judge(work)
    return {**bundle_facts(work.bundle), "approval": certificate["approval"]}, approval


@functools.cache
def _groups() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(Path(__file__).with_name("groups.toml").read_text("utf-8"))


def group_of(check: str, category: str) -> str:
    """Return the part of the stage that a check of `edgehone certify` belongs to."""
    groups = _groups()
    by_name = next((name for name, one in groups.items() if check in one.get("checks", ())), None)
    by_category = next((name for name, one in groups.items() if category in one.get("categories", ())), None)
    return by_name or by_category or "unit_tests"


def _judge_group(work: Work, group: str, checks: Sequence[Mapping[str, Any]]) -> None:
    """Note the checks of a part. comprehensive: any of them fails it; disabled: none; else required ones do."""
    scope = getattr(work.pipeline.testing, group)
    for one in checks:
        if group_of(one["name"], one["category"]) != group:
            continue
        said, outcome = one["reason"], one["outcome"]
        if outcome in ("undecided", "skipped"):
            work.found(f"{group}.{one['name']}", "skipped", f"{outcome}: {said}")
        elif outcome == "failed" and _allowed(scope, one["required"]):
            work.found(f"{group}.{one['name']}", "skipped", f"failed, which {group}: {scope} allows: {said}")
        else:
            work.found(f"{group}.{one['name']}", outcome, said)


def _allowed(scope: str, required: bool) -> bool:
    """Return whether a check may fail. One that is not required is a condition of the certificate then."""
    return scope == "disabled" or (scope != "comprehensive" and not required)


def _judge_approval(work: Work, approval: str, conditions: Sequence[str], begun: float) -> None:
    refused = approval == "not approved" or (conditions and work.pipeline.testing.conditions == "refuse")
    said = f"{approval}, {len(conditions)} conditions" if conditions else approval
    if refused and conditions:
        said += f": {conditions[0]}"
    work.found("certificate", "failed" if refused else "passed", said, begun)
    work.notes.extend(conditions)


def _profile(work: Work) -> Path:
    """Return the profile: the user's, or one with the file's threshold. Raises StageFailed for one that is laxer."""
    testing, threshold = work.pipeline.testing, work.pipeline.model_validation.accuracy_threshold
    if (given := work.path(testing.profile)) is not None:
        lax = read_profile(given).checks["accuracy"].threshold
        if lax is not None and lax < threshold:
            raise StageFailed(
                f"{given} allows an accuracy of {lax:g}, less than accuracy_threshold: {threshold:g}",
                hint="raise checks.accuracy.threshold in the profile, or lower accuracy_threshold",
            )
        return given
    lines = [f'name = "pipeline"\n[checks.accuracy]\nthreshold = {threshold!r}\n']
    if testing.load_tests != "production_scale":
        lines += ["[measure]\n", *(f"{name} = {value}\n" for name, value in _SHORT.items())]
    path = work.out / "profile.toml"
    path.write_text("".join(lines), "utf-8")
    return path


def _departed(work: Work, result: Result) -> str | None:
    if found := bundle_departed(work, result):
        return found
    same = bundle_facts(work.bundle)["certificate"] == result.outputs["certificate"]
    return None if same else f"{work.bundle} has another certificate"


STAGE: Final = Stage(
    name="testing",
    says="the bundle is certified: unit, integration, load and security tests",
    needs="optimization",
    settings=_settings,
    inputs=_inputs,
    make=_make,
    departed=_departed,
    approval=lambda pipeline: pipeline.testing.approval,
)
