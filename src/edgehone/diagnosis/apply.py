"""Apply a remedy: measure the bundle before and after it, and keep it only if it helps.

The remedy's settings are written into a copy of the bundle next to it, whose files are hard links. Both are measured as
`edgehone compare` does: same original, same windows, interleaved rounds. A remedy is kept if its figure improves beyond
the intervals and no further gate of the bundle's decision fails: then the copy, with the change recorded in its
decision and report, replaces the bundle by one rename. Otherwise the bundle stays unchanged.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgehone.backends.base import Effort
from edgehone.bundle.read import Bundle, read
from edgehone.bundle.schema import CERTIFICATION, DECISION, MANIFEST, REPORT, Manifest
from edgehone.bundle.write import copy_bundle, replace_bundle
from edgehone.core.errors import InputError, JobError
from edgehone.core.events import Emit, silent
from edgehone.core.figure import Figure
from edgehone.decision.decide import derive
from edgehone.decision.decision import Candidate
from edgehone.decision.gates import judge
from edgehone.decision.requirements import Gate, Requirements
from edgehone.diagnosis.causes import Cause, Remedy
from edgehone.model.digest import digest_file
from edgehone.optimize.compare import compare
from edgehone.report.bundle_findings import read_findings
from edgehone.report.html import page

# A figure without an interval (memory) must improve by this share: processes differ by less without any change.
MIN_GAIN = 0.03


@dataclass(frozen=True)
class Applied:
    """The outcome of a remedy: whether it was kept and why, with its figure before and after."""

    cause: str
    settings: Mapping[str, Any]
    figure: str
    before: Figure
    after: Figure
    kept: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return {
            "cause": self.cause,
            "settings": dict(self.settings),
            "figure": self.figure,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "kept": self.kept,
            "reason": self.reason,
        }


def applicable(causes: Sequence[Cause]) -> list[tuple[Cause, Remedy]]:
    """Return the remedies of found causes that change settings and name a figure, in order."""
    return [
        (cause, remedy)
        for cause in causes
        if cause.found
        for remedy in cause.remedies
        if remedy.settings and remedy.figure
    ]


def apply(
    path: str | Path,
    causes: Sequence[Cause],
    *,
    model: str | Path | None = None,
    effort: Effort = "quick",
    emit: Emit = silent,
) -> list[Applied]:
    """Try each applicable remedy in turn, on top of those kept before it.

    `model` is the original, if it is no longer at the path recorded in the bundle. Raises InputError if no remedy is
    applicable or the original is not found.
    """
    remedies = applicable(causes)
    if not remedies:
        raise InputError(
            f"no remedy for {path} changes settings",
            hint=f"edgehone diagnose {path} lists other remedies",
        )
    return [
        _try(read(path), cause, remedy, model=model, effort=effort, emit=emit) for cause, remedy in remedies
    ]


def _try(
    bundle: Bundle,
    cause: Cause,
    remedy: Remedy,
    *,
    model: str | Path | None,
    effort: Effort,
    emit: Emit,
) -> Applied:
    assert remedy.figure is not None
    staged = bundle.path.absolute().with_name(f".{bundle.path.absolute().name}.remedy")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        manifest = _changed(bundle, remedy.settings)
        # A certificate and a signature are about the settings before.
        copy_bundle(bundle.path, staged, without=CERTIFICATION)
        _write(staged / MANIFEST, manifest.to_json())
        comparison = compare(
            [bundle.path, staged],
            model=model,
            workload=str(bundle.decision.workload["name"]),
            effort=effort,
            emit=emit,
        )
        before, after = comparison.candidates
        if after.status != "ok" or before.status != "ok":
            broken = after if after.status != "ok" else before
            raise JobError(f"the bundle cannot be measured: {broken.error}")
        kept, reason = _verdict(bundle, before, after, comparison.baseline, remedy)
        if kept:
            figures = {"before": before.figure(remedy.figure), "after": after.figure(remedy.figure)}
            _record(staged, replace(bundle, manifest=manifest), cause, remedy.figure, figures)
            replace_bundle(staged, bundle.path.absolute())
        return Applied(
            cause.name,
            remedy.settings,
            remedy.figure,
            before.figure(remedy.figure),
            after.figure(remedy.figure),
            kept,
            reason,
        )
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _changed(bundle: Bundle, settings: Mapping[str, Any]) -> Manifest:
    recipe = bundle.manifest.recipe
    return replace(bundle.manifest, recipe={**recipe, "settings": {**recipe["settings"], **settings}})


def _verdict(
    bundle: Bundle, before: Candidate, after: Candidate, baseline: Candidate, remedy: Remedy
) -> tuple[bool, str]:
    name = str(remedy.figure)
    was, now = before.figure(name), after.figure(name)
    if was.value is None or now.value is None:
        return False, f"{name} could not be measured: {now.reason or was.reason}"
    better = now.value > was.value if remedy.more else now.value < was.value
    intervals = was.low is not None and now.low is not None
    small = abs(now.value - was.value) < MIN_GAIN * abs(was.value)
    if not better or (was.ties(now) if intervals else small):
        limit = "the intervals" if intervals else f"{MIN_GAIN:.0%}, by which single measurements differ"
        return False, f"{name} was {was.value:.4g} and is {now.value:.4g}: no improvement beyond {limit}"
    failing = _failing_gates(bundle, replace(after, figures=derive(after, baseline)))
    failing_before = _failing_gates(bundle, replace(before, figures=derive(before, baseline)))
    if new := [gate for gate in failing if gate not in failing_before]:
        return (
            False,
            f"{name} improves ({was.value:.4g} to {now.value:.4g}), but {', '.join(new)} fails",
        )
    return True, f"{name} was {was.value:.4g} and is {now.value:.4g}"


def _failing_gates(bundle: Bundle, candidate: Candidate) -> list[str]:
    """Return the gates of the bundle's decision that a candidate fails."""
    gates = tuple(Gate(**gate) for gate in bundle.decision.requirements["gates"])
    return [v.gate for v in judge(candidate.figures, Requirements(gates, {}, {})) if not v.ok]


def _record(staged: Path, bundle: Bundle, cause: Cause, figure: str, figures: Mapping[str, Figure]) -> None:
    """Record a change of settings in the decision, the report and the manifest of the staged copy."""
    record = {
        "candidate": bundle.decision.bundled,
        "cause": cause.name,
        "settings": bundle.manifest.recipe["settings"],
        "figure": figure,
        **{when: one.to_json() for when, one in figures.items()},
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    note = (
        f"edgehone diagnose --apply changed the settings of {record['candidate']} to {record['settings']} "
        f"({cause.name}): {figure} was {figures['before'].value:.4g} and is {figures['after'].value:.4g}"
    )
    old = bundle.decision
    decision = replace(old, remedies=(*old.remedies, record), notes=(*old.notes, note))
    _write(staged / DECISION, decision.to_json())
    _write_text(
        staged / REPORT, page([replace(read_findings(staged), name=bundle.path.absolute().name, problems=())])
    )
    changed = {name: digest_file(staged / name) for name in (DECISION, REPORT)}
    manifest = replace(bundle.manifest, files={**bundle.manifest.files, **changed})
    _write(staged / MANIFEST, manifest.to_json())


def _write(path: Path, data: Mapping[str, Any]) -> None:
    _write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text, "utf-8")
    new.replace(path)
