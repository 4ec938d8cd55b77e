"""Write a bundle: staged beside its place, then put there by one rename."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.bundle.read import MANIFEST, SCHEMA, evidence_of
from edgehone.decide.decision import Decision
from edgehone.errors import InputError, SetupError
from edgehone.model.digest import digest_folder
from edgehone.report.findings import Findings
from edgehone.report.html import page
from edgehone.stages.bench import Bench
from edgehone.stages.original import Original
from edgehone.stages.trial import Trial

# Characters of a failed candidate's log that go along.
LOG_END = 20_000
_NOTICES = re.compile(r"(licen[cs]e|notice|copying|readme|use_policy)", re.IGNORECASE)


def check_target(target: Path) -> None:
    """Raise InputError unless a bundle may be written there: nothing, an empty folder, or an older bundle."""
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise InputError(
            f"{target} is a folder with other things in it; a bundle would replace them",
            hint="give another --out",
        )
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} exists and is not a folder", hint="give another --out")
    parent = target.absolute().parent
    nearest = next(folder for folder in (parent, *parent.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(f"{nearest} cannot be written to", hint="give another --out")


def write(
    target: Path,
    decision: Decision,
    bench: Bench,
    original: Original,
    trials: Sequence[Trial],
    *,
    command: Sequence[str],
) -> None:
    """Write the chosen trial's bundle to `target`, replacing an older bundle there.

    `command` is the one that reproduces it. Raises SetupError when the disk is full; what was there before
    stays until the new one is whole.
    """
    target = target.absolute()
    staged = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        _fill(staged, decision, bench, original, trials, name=target.name, command=command)
        _swap(staged, target)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SetupError(
                f"no space left on the disk of {target.parent} for the bundle",
                hint="free some space and run the same command again: finished jobs are kept",
            ) from error
        raise SetupError(
            f"the bundle cannot be written to {target}: {error.strerror or error}", hint="give another --out"
        ) from error


def _fill(
    place: Path,
    decision: Decision,
    bench: Bench,
    original: Original,
    trials: Sequence[Trial],
    *,
    name: str,
    command: Sequence[str],
) -> None:
    chosen = next(trial for trial in trials if trial.recipe.key == decision.chosen)
    assert chosen.artifact is not None
    shutil.copytree(chosen.artifact.out, place / "artifact")
    _write_json(place / "decision.json", decision.to_json())
    every = [original.baseline, *trials]
    logs = {trial.recipe.key: end for trial in every if trial.log and (end := _end_of(Path(trial.log)))}
    for trial in every:
        _evidence(evidence_of(place, trial.recipe.key), trial, logs.get(trial.recipe.key))
    _notices(bench.model.folder, place / "notices")
    script = place / "reproduce.sh"
    script.write_text(_script(decision, command), "utf-8")
    script.chmod(0o755)
    samples = {trial.recipe.key: trial.samples for trial in every}
    found = Findings(name, decision, samples, logs, shlex.join(command))
    (place / "report.html").write_text(page([found]), "utf-8")
    _write_json(place / MANIFEST, _manifest(place, decision, bench, original, chosen))


def _manifest(
    place: Path, decision: Decision, bench: Bench, original: Original, chosen: Trial
) -> dict[str, Any]:
    assert chosen.artifact is not None
    return {
        "schema": SCHEMA,
        "edgehone": decision.edgehone,
        "created": decision.created,
        "recipe": chosen.recipe.to_json(),
        "facts": chosen.facts,
        "artifact_key": chosen.artifact.key,
        "kind": bench.model.kind,
        "eos": original.prepared.facts.get("eos", []),
        "pictures": original.facts["pictures"].facts["template"] if "pictures" in original.facts else None,
        "batch": original.request.get("batch", 1),
        "inputs": bench.model.to_json()["inputs"],
        "versions": decision.versions,
        "device": bench.device.to_json(),
        "target": bench.target.to_json() if bench.target else None,
        "model": {
            "name": bench.model.path.name,
            "architecture": bench.model.architecture,
            "digest": bench.source.identity,
            "licence": bench.model.licence,
        },
        "texts": original.prepared.facts["texts"],
        "files": digest_folder(place),
    }


def _end_of(log: Path) -> str:
    """The last lines of a log: what people look at, and where its root cause was looked for."""
    try:
        return log.read_text("utf-8", "replace")[-LOG_END:]
    except OSError:  # the store was swept meanwhile; the decision has the cause
        return ""


def _evidence(folder: Path, trial: Trial, log: str | None) -> None:
    """The raw samples behind a trial's figures, and the end of the log of one that failed."""
    import numpy as np

    if log:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").write_text(log, "utf-8")
    if trial.samples:
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / "samples.json", trial.samples)
    if trial.score is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(trial.score.out.glob("*.npz")):
            with np.load(path) as arrays, (folder / path.name).open("wb") as file:
                np.savez_compressed(file, **{name: arrays[name] for name in arrays.files})


def _notices(model: Path, folder: Path) -> None:
    for path in sorted(model.iterdir()):
        if path.is_file() and _NOTICES.match(path.name):
            folder.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / path.name)


def _script(decision: Decision, command: Sequence[str]) -> str:
    chosen = decision.candidate(decision.chosen or "")
    pinned = ", ".join(f"{n} {v}" for n, v in sorted(decision.versions.get(chosen.backend, {}).items()))
    return f"""#!/bin/sh
# Makes this bundle again: edgehone {decision.edgehone}; {chosen.backend} with {pinned or "no packages of its own"}.
# Model digest {decision.model["digest"]}.
set -eu
exec {" ".join(shlex.quote(part) for part in command)} "$@"
"""


def _swap(staged: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    staged.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", "utf-8")
