"""Read a bundle for a report, also if it is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgehone.bundle.schema import DECISION, MANIFEST, evidence_key, read_manifest
from edgehone.bundle.verify import differences
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.core.typed_json import Salvage
from edgehone.decision.decision import Candidate, Decision, salvage
from edgehone.evaluation import speed
from edgehone.report.findings import Findings
from edgehone.report.repair_json import repair


def read_findings(path: str | Path) -> Findings:
    """Return what can be read of the bundle in that folder.

    Its problems name what cannot be read and what differs from the manifest. Raises InputError if there is no such
    folder, or no file of a bundle in it.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(
            why_absent(folder, f"no such bundle: {folder}"), hint=f"edgehone optimize MODEL --out {folder}"
        )
    if not any((folder / name).exists() for name in (MANIFEST, DECISION, "evidence")):
        raise InputError(f"{folder} is not a bundle", hint=f"edgehone optimize MODEL --out {folder}")
    problems = [*_discrepancies(folder)]
    decision = _decision(folder, problems)
    samples = _samples(folder, problems)
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
        for file in folder.glob("evidence/*/log.txt")
    }
    return Findings(folder.resolve().name, decision, samples, logs, _command(folder), tuple(problems))


def _discrepancies(folder: Path) -> Iterator[str]:
    """Yield the problems of the manifest, and the files that differ from it."""
    manifest, problem = _read(folder / MANIFEST)
    if problem:
        yield problem
    if not isinstance(manifest, Mapping):
        return
    salvage = Salvage()
    files = read_manifest(manifest, MANIFEST, salvage).files
    yield from salvage.problems
    if files:
        yield from differences(folder, files)
    else:
        yield f"{MANIFEST} does not list the files, so they cannot be verified"


def _decision(folder: Path, problems: list[str]) -> Decision:
    data, problem = _read(folder / DECISION)
    problems += [problem] if problem else []
    decision, departures = salvage(data if isinstance(data, Mapping) else {})
    problems += departures if isinstance(data, Mapping) else []
    return decision


def _samples(folder: Path, problems: list[str]) -> dict[str, Mapping[str, Any]]:
    samples: dict[str, Mapping[str, Any]] = {}
    for file in sorted(folder.glob("evidence/*/samples.json")):
        data, problem = _read(file)
        problems += [f"evidence/{file.parent.name}/{problem}"] if problem else []
        if isinstance(data, Mapping):
            samples[evidence_key(file.parent)] = data
    return samples


def _unknown(decision: Decision, samples: Mapping[str, Mapping[str, Any]]) -> Iterator[Candidate]:
    """Yield the candidates of which only raw samples are left, with the speed figures that follow from these."""
    known = {decision.baseline.key, *(one.key for one in decision.candidates)}
    for key, recorded in samples.items():
        if key in known:
            continue
        try:
            figures = speed.figures(recorded["rounds"], speed.Request())
            del figures["requests_per_s"]  # the number of clients is not known
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            figures = {}
        error = "it is missing in decision.json"
        yield Candidate(
            key, key.partition("/")[0], {}, "ok" if figures else "skipped", error, figures=figures
        )


def _command(folder: Path) -> str | None:
    """Return the command in reproduce.sh, None if it cannot be read."""
    try:
        lines = (folder / "reproduce.sh").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    command = next((line for line in lines if line.startswith("exec ")), None)
    return command.removeprefix("exec ").removesuffix(' "$@"') if command else None


def _read(path: Path) -> tuple[Any, str | None]:
    """Return a JSON file's value, repaired if necessary, and the problem with the file."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        return None, f"{path.name} cannot be read: {error.strerror}"
    try:
        return json.loads(text), None
    except ValueError as error:
        try:
            return repair(text), f"{path.name} is cut or broken ({error}): only what precedes this is shown"
        except ValueError:
            return None, f"{path.name} is not JSON ({error})"
