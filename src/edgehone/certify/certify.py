"""Certify a bundle: make all checks, fill the check-list, decide on the approval, and write it into the bundle.

edgehone.attestation writes the documents and signs; nothing here changes the bundle before all checks are made.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgehone.attestation.bom import software_in
from edgehone.attestation.certificate import (
    BILL_OF_MATERIALS,
    CERTIFICATE,
    DRIFT_REFERENCE,
    EVIDENCE,
    SIGNATURE,
    Certificate,
    CheckResult,
)
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keyless import KeylessKey
from edgehone.attestation.keys import SigningKey
from edgehone.attestation.verify import verify_bundle
from edgehone.attestation.write import certify_bundle, subject_of
from edgehone.bundle.read import read
from edgehone.certify import checklist, original
from edgehone.certify.approval import approve
from edgehone.certify.check import Check
from edgehone.certify.checklist import Answer
from edgehone.certify.checks import checks_for
from edgehone.certify.drift_reference import drift_reference
from edgehone.certify.found import Found, Skipped
from edgehone.certify.monitoring import monitoring
from edgehone.certify.privacy import planted_canaries
from edgehone.certify.profile import Profile
from edgehone.certify.software import software
from edgehone.certify.subject import Sources, Subject
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError, JobError, ModelError, SetupError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How a bundle is certified. `answers` are what persons say of the check-list, `key` signs (None: unsigned)."""

    profile: Profile
    sources: Sources = field(default_factory=Sources)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    key: SigningKey | None = None


def certify(path: Path, options: Options, say: Say) -> Certificate:
    """Make all checks of a bundle and write its certificate into it.

    Answers of an earlier certificate of the same artifact and decision are kept. Raises InputError for a bundle that
    cannot be certified (changed, with links or files that everybody can change), or input that cannot be used; the
    bundle then stays as it was.
    """
    about = subject_of(path)
    before = _earlier(path, say)
    if options.key is None and (path / SIGNATURE).is_file():
        say("note: the bundle is signed; without --key the new certificate is not")
    answers = {**(checklist.earlier(before.checklist) if before else {}), **options.answers}
    bundle = read(path)
    with _work() as work:
        subject = Subject(bundle, options.profile, options.sources, work, say)
        _check_sources(subject)
        results, evidence = _made(subject, checks_for(bundle.manifest.kind), say)
        watch, drift, parts = monitoring(subject), drift_reference(subject), software(subject)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    watch["checked"] = now
    filled = checklist.filled(results, watch, answers)
    approval, conditions = approve(results, filled)
    certificate = Certificate(
        edgehone=version("edgehone"),
        created=now,
        profile=options.profile.name,
        approval=approval,
        conditions=conditions,
        checks=results,
        checklist=filled,
        monitoring=watch,
        device=subject.machine.to_json(),
        instruction_sets=tuple(subject.machine.simd or ()),
        artifact_key=about.artifact_key,
        artifact=about.artifact,
        decision=about.decision,
        versions={subject.backend: dict(subject.env.versions)},
    )
    reference = json.dumps(drift.to_json()).encode()
    certify_bundle(path, certificate, evidence, options.key, drift=reference, software=parts)
    return certificate


def amend(path: Path, answers: Mapping[str, Answer], key: SigningKey | KeylessKey | None) -> Certificate:
    """Add answers of persons to the certificate of a bundle, decide again on the approval, write and sign it again.

    Raises InputError if the bundle has no certificate that is about it, or is signed and no key is given.
    """
    if not (path / CERTIFICATE).is_file():
        raise InputError(f"{path} has no certificate yet", hint=f"edgehone certify {path}")
    if key is None and (path / SIGNATURE).is_file():
        raise InputError(
            f"{path} is signed, and with an answer added its signature would no longer hold",
            hint="sign it again: add --key FILE",
        )
    before = verify_bundle(path, None).certificate
    assert before is not None
    given = {**checklist.earlier(before.checklist), **answers}
    filled = checklist.filled(before.checks, before.monitoring, given)
    approval, conditions = approve(before.checks, filled)
    certificate = replace(
        before,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        approval=approval,
        conditions=conditions,
        checklist=filled,
    )
    folder = path / EVIDENCE
    evidence = {f"{EVIDENCE}/{one.name}": one.read_bytes() for one in sorted(folder.iterdir())}
    drift = (path / DRIFT_REFERENCE).read_bytes() if (path / DRIFT_REFERENCE).is_file() else None
    parts = software_in(json.loads((path / BILL_OF_MATERIALS).read_text("utf-8")))
    certify_bundle(path, certificate, evidence, key, drift=drift, software=parts)
    return certificate


def _made(
    subject: Subject, checks: Sequence[Check], say: Say
) -> tuple[tuple[CheckResult, ...], dict[str, Any]]:
    """Make the checks one after another; return their results, and their evidence by its path in the bundle."""
    results, evidence = [], {}
    for number, one in enumerate(checks, 1):
        begun = time.perf_counter()
        say(f"[{number}/{len(checks)}] {one.category}: {one.looks_at}")
        rule = subject.profile.checks[one.name]
        found = _found(subject, one)
        path = f"{EVIDENCE}/{one.name}.json"
        result = CheckResult(
            name=one.name,
            category=one.category,
            outcome=found.outcome,
            reason=found.reason,
            threshold=found.threshold,
            figure=found.figure,
            evidence=path,
            required=rule.required,
        )
        seconds = time.perf_counter() - begun
        say(f"[{number}/{len(checks)}] {one.name} {found.outcome}: {found.reason} ({seconds:.1f} s)")
        results.append(result)
        evidence[path] = {
            "check": one.name,
            "outcome": found.outcome,
            "reason": found.reason,
            "threshold": found.threshold,
            "figure": found.figure.to_json() if found.figure else None,
            "seconds": round(seconds, 3),
            **_plain(found.evidence),
        }
    return tuple(results), evidence


def _found(subject: Subject, check: Check) -> Found:
    """Make one check. A job that fails is a failure of the bundle; what this machine lacks makes the check skipped."""
    try:
        return check.make(subject, subject.profile.checks[check.name])
    except (Skipped, SetupError, ModelError) as error:
        return Found(outcome="skipped", reason=str(error))
    except JobError as error:
        evidence = (
            {"log": error.log.read_text("utf-8", "replace")[-20_000:]}
            if error.log and error.log.is_file()
            else {}
        )
        return Found(outcome="failed", reason=f"it does not run: {error.message}", evidence=evidence)


def _check_sources(subject: Subject) -> None:
    """Raise InputError for files that were given and are not what they should be, before anything slow begins."""
    given = subject.sources
    for option, path in (
        ("--model", given.model),
        ("--eval", given.evaluation),
        ("--calibration", given.calibration),
        ("--advisories", given.advisories),
        ("--canaries", given.canaries),
    ):
        if path is not None and not path.exists():
            problem = why_absent(path, f"there is no {path}")
            raise InputError(f"{option}: {problem}", hint=f"give another {option}, or leave it out")
    if given.model is not None:
        subject.once(original.find)
    planted_canaries(subject)


def _earlier(path: Path, say: Say) -> Certificate | None:
    """Return the certificate that a bundle has already; None if it has none, or one that is about other files."""
    if not (path / CERTIFICATE).is_file():
        return None
    try:
        return verify_bundle(path, None).certificate
    except NotVerified as error:
        say(f"note: the earlier certificate is replaced and its answers are not kept: {error.message}")
        return None


@contextmanager
def _work() -> Iterator[Path]:
    """A folder for what the checks need meanwhile. Its path is short, since sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="edgehone-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _plain(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return evidence as JSON can hold it: numbers that are not finite become texts."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if isinstance(value, Mapping):
            return {str(name): plain(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        return value

    found: dict[str, Any] = plain(evidence)
    json.dumps(found, allow_nan=False)
    return found
