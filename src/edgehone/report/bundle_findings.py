"""All that is known of a bundle, whole or not: what a report is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgehone.bundle.schema import DECISION, MANIFEST, evidence_key, read_manifest
from edgehone.bundle.verify import differences
from edgehone.core.errors import InputError
from edgehone.core.typed_json import Salvage
from edgehone.decision.decision import Candidate, Decision, salvage
from edgehone.evaluation import speed
from edgehone.report.findings import Findings
from edgehone.report.repair_json import mend


def read_findings(path: str | Path) -> Findings:
    """What can be read of the bundle in that folder; its problems name what can't, and what differs from the manifest.

    Raises InputError where there is no such folder, or nothing of a bundle in it.
    """
    place = Path(path)
    if not place.is_dir():
        raise InputError(f"no such bundle: {place}", hint=f"edgehone optimize MODEL --out {place}")
    if not any((place / name).exists() for name in (MANIFEST, DECISION, "evidence")):
        raise InputError(f"{place} is not a bundle", hint=f"edgehone optimize MODEL --out {place}")
    problems = [*_untrue(place)]
    decision = _decision(place, problems)
    samples = _samples(place, problems)
    decision = replace(decision, candidates=(*decision.candidates, *_unknown(decision, samples)))
    problems += [
        f"evidence: there are no raw samples of {one.key}"
        for one in (decision.baseline, *decision.candidates)
        if one.status == "ok"
        and one.figure("workload_latency_ms").value is not None
        and one.key not in samples
    ]
    logs = {
        evidence_key(file.parent): file.read_text("utf-8", "replace")
        for file in place.glob("evidence/*/log.txt")
    }
    return Findings(place.resolve().name, decision, samples, logs, _command(place), tuple(problems))


def _untrue(place: Path) -> Iterator[str]:
    """What the manifest says of the files that is not so."""
    manifest, problem = _read(place / MANIFEST)
    if problem:
        yield problem
    if not isinstance(manifest, Mapping):
        return
    salvage = Salvage()
    files = read_manifest(manifest, MANIFEST, salvage).files
    yield from salvage.problems
    if files:
        yield from differences(place, files)
    else:
        yield f"{MANIFEST} does not list the files, so they cannot be verified"


def _decision(place: Path, problems: list[str]) -> Decision:
    data, problem = _read(place / DECISION)
    problems += [problem] if problem else []
    decision, departures = salvage(data if isinstance(data, Mapping) else {})
    problems += departures if isinstance(data, Mapping) else []
    return decision


def _samples(place: Path, problems: list[str]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for file in sorted(place.glob("evidence/*/samples.json")):
        data, problem = _read(file)
        problems += [f"evidence/{file.parent.name}/{problem}"] if problem else []
        if isinstance(data, Mapping):
            found[evidence_key(file.parent)] = data
    return found


def _unknown(decision: Decision, samples: Mapping[str, Mapping[str, Any]]) -> Iterator[Candidate]:
    """Candidates of which only the raw samples are left: the figures of speed that follow from these alone."""
    known = {decision.baseline.key, *(one.key for one in decision.candidates)}
    for key, own in samples.items():
        if key in known:
            continue
        try:
            figures = speed.figures(own["rounds"], speed.Request())
            del figures["requests_per_s"]  # of how many clients is not known
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            figures = {}
        told = "decision.json does not tell of it"
        yield Candidate(key, key.partition("/")[0], {}, "ok" if figures else "skipped", told, figures=figures)


def _command(place: Path) -> str | None:
    """The command in reproduce.sh."""
    try:
        lines = (place / "reproduce.sh").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith("exec ")), None)
    return found.removeprefix("exec ").removesuffix(' "$@"') if found else None


def _read(path: Path) -> tuple[Any, str | None]:
    """A JSON file's value, or what is whole of it, and what is wrong with it."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        return None, f"{path.name} cannot be read: {error.strerror}"
    try:
        return json.loads(text), None
    except ValueError as error:
        try:
            return mend(text), f"{path.name} is cut or broken ({error}): what stands before that is shown"
        except ValueError:
            return None, f"{path.name} is no JSON ({error})"
