"""Apply a remedy: measure before and after under one protocol, and keep it only if it helped.

A remedy's settings go into a copy of the bundle beside it, whose files are links to the same ones. Both are put side by
side by `edgehone compare`: the same original, windows and interleaved rounds. What helped, beyond the intervals, and
breaks no gate that the bundle was held to, takes the bundle's place; anything else leaves it as it was.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgehone.backends.base import Effort
from edgehone.bundle.read import Bundle, read
from edgehone.bundle.schema import MANIFEST, Manifest
from edgehone.core.errors import InputError, JobError
from edgehone.core.events import Emit, silent
from edgehone.core.figure import Figure
from edgehone.decision.decide import derive
from edgehone.decision.decision import Candidate
from edgehone.decision.gates import judge
from edgehone.decision.requirements import Gate, Requirements
from edgehone.diagnosis.causes import Cause, Remedy
from edgehone.optimize.compare import compare

# A figure that is read once (memory) must get better by this share to be kept: less differs from process to process.
LEAST_GAIN = 0.03


@dataclass(frozen=True)
class Applied:
    """What came of a remedy: `kept` and why, with the figure that it was judged by before and after."""

    cause: str
    settings: Mapping[str, Any]
    figure: str
    before: Figure
    after: Figure
    kept: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
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
    """The remedies of found causes that settings can put in place, in order."""
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
    """Try each applicable remedy in turn, each upon what was kept before it.

    `model` is the original, where it is not where the bundle found it. Raises InputError where nothing is applicable,
    or the original is not to be had.
    """
    wanted = applicable(causes)
    if not wanted:
        raise InputError(
            f"no remedy for {path} is one that settings can put in place",
            hint=f"edgehone diagnose {path} tells what else can be done",
        )
    return [
        _try(read(path), cause, remedy, model=model, effort=effort, emit=emit) for cause, remedy in wanted
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
        _stage(bundle.path, staged, manifest)
        found = compare(
            [bundle.path, staged],
            model=model,
            workload=str(bundle.decision.workload["name"]),
            effort=effort,
            emit=emit,
        )
        before, after = found.candidates
        if after.status != "ok" or before.status != "ok":
            broken = after if after.status != "ok" else before
            raise JobError(f"it cannot be measured: {broken.error}")
        kept, reason = _verdict(bundle, before, after, found.baseline, remedy)
        if kept:
            _keep(bundle.path, manifest, cause, before.figure(remedy.figure), after.figure(remedy.figure))
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


def _stage(source: Path, target: Path, manifest: Manifest) -> None:
    """A copy whose files are the same ones, where the disk can link them; with another manifest."""
    shutil.copytree(source, target, copy_function=_link)
    (target / MANIFEST).unlink()
    _write(target / MANIFEST, manifest)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _verdict(
    bundle: Bundle, before: Candidate, after: Candidate, baseline: Candidate, remedy: Remedy
) -> tuple[bool, str]:
    name = str(remedy.figure)
    was, now = before.figure(name), after.figure(name)
    if was.value is None or now.value is None:
        return False, f"{name} could not be read: {now.reason or was.reason}"
    better = now.value > was.value if remedy.more else now.value < was.value
    intervals = was.low is not None and now.low is not None
    small = abs(now.value - was.value) < LEAST_GAIN * abs(was.value)
    if not better or (was.ties(now) if intervals else small):
        limit = "the intervals" if intervals else f"{LEAST_GAIN:.0%}, which one reading may differ by"
        return False, f"{name} was {was.value:.4g} and is {now.value:.4g}: no better beyond {limit}"
    broken = _broken(bundle, replace(after, figures=derive(after, baseline)))
    held = _broken(bundle, replace(before, figures=derive(before, baseline)))
    if new := [gate for gate in broken if gate not in held]:
        return (
            False,
            f"{name} is better ({was.value:.4g} to {now.value:.4g}), but {', '.join(new)} fails with it",
        )
    return True, f"{name} was {was.value:.4g} and is {now.value:.4g}"


def _broken(bundle: Bundle, candidate: Candidate) -> list[str]:
    """The gates of the bundle's decision that a candidate does not pass."""
    gates = tuple(Gate(**gate) for gate in bundle.decision.requirements["gates"])
    return [v.gate for v in judge(candidate.figures, Requirements(gates, {}, {})) if not v.ok]


def _keep(path: Path, manifest: Manifest, cause: Cause, was: Figure, now: Figure) -> None:
    told = {
        "cause": cause.name,
        "settings": manifest.recipe["settings"],
        "before": was.to_json(),
        "after": now.to_json(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _write(path / MANIFEST, replace(manifest, remedies=(*manifest.remedies, told)))


def _write(path: Path, manifest: Manifest) -> None:
    staged = path.with_name(path.name + ".new")
    staged.write_text(json.dumps(manifest.to_json(), indent=1, allow_nan=False) + "\n", "utf-8")
    staged.replace(path)
