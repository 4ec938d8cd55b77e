"""The certificate of a bundle: what was checked, with which outcome, and whether it is approved for production."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from edgehone.bundle.schema import (
    BILL_OF_MATERIALS,
    CERTIFICATE,
    CERTIFICATE_PAGE,
    CERTIFICATION,
    CHECKS,
    DRIFT_REFERENCE,
    SIGNATURE,
    VERDICTS,
)
from edgehone.core.figure import Figure

__all__ = [
    "ADDED",
    "BILL_OF_MATERIALS",
    "CERTIFICATE",
    "DRIFT_REFERENCE",
    "EVIDENCE",
    "PAGE",
    "SIGNATURE",
    "VERDICTS",
    "Approval",
    "Category",
    "Certificate",
    "CheckResult",
    "ListItem",
    "Outcome",
]

# The files that certification adds to a bundle. manifest.json does not list them; the signature covers them.
ADDED: Final = CERTIFICATION
PAGE: Final = CERTIFICATE_PAGE
EVIDENCE: Final = CHECKS  # a folder with one file for each check

Category = Literal[
    "quality", "performance", "robustness", "stress", "stability", "security", "privacy", "compliance"
]
# `undecided`: the interval holds the threshold. `skipped`: the check could not be made. Neither is a pass.
Outcome = Literal["passed", "failed", "undecided", "skipped"]
Approval = Literal["yes", "conditional", "no"]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The outcome of one check.

    `figure` is what was measured and `threshold` what it was compared with, in words with its unit ("≤ 45 ms"). A
    check that counts problems has their number as its figure. `reason` says in one sentence why the outcome is what
    it is, with the offending values. `evidence` is the path of the file in the bundle that holds the samples.
    `required`: an approval needs it to pass; otherwise a failure is a condition of the approval.
    """

    name: str
    category: Category
    outcome: Outcome
    reason: str
    threshold: str = ""
    figure: Figure | None = None
    evidence: str | None = None
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class ListItem:
    """An item of the production check-list. `done` is None while only a person can answer it and no answer was given.

    `by` is who answered: "edgehone" if facts did. `answer` says how it is known.
    """

    name: str
    phase: Literal["before", "during", "after"]
    text: str
    done: bool | None
    answer: str
    by: str


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The predicate of certificate.json, an in-toto Statement whose subjects are the files of the bundle.

    `approval`: yes, conditional on `conditions`, or no because of them. `instruction_sets` are those whose kernels the
    quality checks ran on. `monitoring` holds the baselines and alert thresholds for operation. `decision` and
    `artifact` are the digests of decision.json and of the artifact's files.
    """

    edgehone: str
    created: str  # UTC, ISO 8601
    profile: str
    approval: Approval
    conditions: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    checklist: tuple[ListItem, ...]
    monitoring: Mapping[str, Any] = field(default_factory=dict)
    device: Mapping[str, Any]
    instruction_sets: tuple[str, ...]
    artifact_key: str
    artifact: str
    decision: str
    versions: Mapping[str, Any] = field(default_factory=dict)
